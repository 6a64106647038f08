"""The catalog as a page of Markdown: `python -m rtune.config.parts_page > docs/parts.md`."""

from collections.abc import Iterable, Iterator
from typing import Any

from rtune.config.catalog.part import Part
from rtune.config.sections import SLOTS
from rtune.metrics import METRICS, Metric
from rtune.registry import Registry

_HEAD = """\
# What a search file can name

Made from the catalog (`rtune/config/catalog`, `rtune/metrics.py`) by
`python -m rtune.config.parts_page > docs/parts.md`; a test holds this page to it. Parts that other packages
add are used in the same way ([how to add one](../CONTRIBUTING.md)).
"""


def page() -> str:
    """The page as Markdown: all parts that come with rtune, by kind, and the metrics."""
    return "\n".join([_HEAD, *_parts(), *_metrics()])


def _parts() -> Iterator[str]:
    registries: dict[str, tuple[Registry[Any], list[str]]] = {}
    for slot in SLOTS:
        registries.setdefault(slot.parts.group, (slot.parts, []))[1].append(slot.path)
    for registry, paths in registries.values():
        own: Iterable[Part] = registry.own()
        yield f"## {registry.kind.capitalize()}: {', '.join(f'`{path}`' for path in paths)}\n"
        yield "| name | what it is | its settings |"
        yield "|---|---|---|"
        for part in own:
            only = "" if getattr(part, "trains", True) else " (`rtune evaluate` only)"
            yield f"| `{part.name}` | {part.about}{only} | {_settings(part)} |"
        yield f"\nEntry points: `{registry.group}`.\n"


def _settings(part: Part) -> str:
    return ", ".join(f"`{part.name}.{name}` = {value}" for name, value in part.defaults().items())


def bounds(metric: Metric) -> str:
    """The inclusive bounds of a metric as text; empty if it has none."""
    if metric.low is None:
        return "" if metric.high is None else f"at most {metric.high:g}"
    return f"at least {metric.low:g}" if metric.high is None else f"{metric.low:g} to {metric.high:g}"


def _metrics() -> Iterator[str]:
    yield "## Metric: `search.objectives`, columns of results\n"
    yield "| name | better when | bounds | unit |"
    yield "|---|---|---|---|"
    for metric in METRICS.own():
        direction = "large" if metric.maximise else "small"
        yield f"| `{metric.name}` | {direction} | {bounds(metric)} | {metric.unit} |"
    yield "\nEntry points: `rtune.metrics`. `NAME:min` or `NAME:max` searches in another direction.\n"


if __name__ == "__main__":
    print(page(), end="")
