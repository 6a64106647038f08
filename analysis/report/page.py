"""The report's page: one HTML file with all that it needs."""

import datetime
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from rtune.metrics import METRICS

from . import plot_data
from .facts import Facts
from .run_set import RunSet
from .section import Content, Section
from .sections import SECTIONS

_STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True)
class _Shown:
    """A section as it stands on the page; `html` is what lies below its heading."""

    section: Section
    content: Content
    html: Markup


def page(run_set: RunSet, refresh: int | None = None, sections: Sequence[Section] = SECTIONS) -> str:
    """The page of a run set.

    Args:
        run_set: what it is about.
        refresh: seconds after which a browser loads it again; never when None.
        sections: in their order; those without content are left out.
    """
    facts = Facts(run_set)
    found = _contents(facts, sections)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([_STATIC, *{section.template.parent for section in sections}]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    shown = [
        _Shown(
            section, content, Markup(environment.get_template(section.template.name).render(content.context))
        )
        for section, content in found
    ]
    scripts = [one.section.script for one in shown if one.section.script is not None and one.content.data]
    return environment.get_template("page.html.j2").render(
        name=run_set.name,
        description=" ".join(dict.fromkeys(r.folder.spec.file.description for r in run_set.runs)).strip(),
        refresh=refresh,
        made=f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}",
        notes=run_set.notes,
        sections=shown,
        data=_embedded(
            _common(facts) | {"sections": {one.section.name: dict(one.content.data) for one in shown}}
        ),
        style=_source(_STATIC / "report.css"),
        scripts=[
            Markup(get_plotlyjs()),
            *map(_source, [_STATIC / "plots.js", _STATIC / "page.js", *scripts]),
        ],
    )


def _contents(facts: Facts, sections: Sequence[Section]) -> list[tuple[Section, Content]]:
    """The sections that have a content. Those that take long are computed beside the others."""
    _ = facts.run_set.members, facts.run_set.hypervolume  # what both threads use
    # Half of the time is spent outside the interpreter; more threads than this would wait for each other.
    with ThreadPoolExecutor(1) as pool:
        futures = {one.name: pool.submit(one.content, facts) for one in sections if one.in_thread}
        own = {one.name: one.content(facts) for one in sections if not one.in_thread}
    made = own | {name: future.result() for name, future in futures.items()}
    return [(one, content) for one in sections if (content := made[one.name]) is not None]


def _common(facts: Facts) -> dict[str, Any]:
    """What the plots of several sections are drawn from."""
    run_set = facts.run_set
    labels = {metric.name: metric.label for metric in METRICS}
    data: dict[str, Any] = {
        "objectives": run_set.names,
        "fractions": [metric.name for metric in METRICS if metric.is_fraction],
        "maximise": {o.name: o.maximise for o in run_set.objectives},
    }
    if run_set.networks.empty:
        none: dict[str, Any] = {"id": [], "kind": [], "front": [], "noise": [], "metrics": {}, "values": {}}
        return data | {"labels": labels, "points": none, "kinds": [], "intervals": {}, "attainment": []}
    thresholds = facts.thresholds
    return data | {
        "labels": labels | thresholds.labels,
        "points": plot_data.points(run_set, facts.drawn, facts.within_noise, thresholds.columns),
        "kinds": sorted(run_set.networks["kind"].unique()),
        "intervals": facts.intervals,
        "attainment": facts.surfaces,
    }


def _source(file: Path) -> Markup:
    """A stylesheet or script of ours, which goes into the page as it is."""
    return Markup(file.read_text(encoding="utf-8"))


def _embedded(data: dict[str, Any]) -> Markup:
    """JSON for a script element; no text in it can end that element."""
    text_ = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text_.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
