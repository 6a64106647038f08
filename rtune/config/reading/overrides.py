"""Values of a search file that are given on the command line: they hold in every trial."""

from collections.abc import Iterable, Iterator
from typing import Any

from rtune.config import fields, ranges
from rtune.config.reading import texts
from rtune.config.sections import SEARCHABLE, SearchFile, search_file
from rtune.errors import SpecError

# Origin of values that are given on the command line.
OPTION = "command line"
Given = dict[str, Any]


def apply(tree: dict[str, Any], origins: dict[str, str], overrides: Iterable[tuple[str, Any]]) -> Given:
    """Replaces values of a search file, in place, whatever the order of the overrides.

    Args:
        tree: the content of the file.
        origins: dotted path -> place in the file; changed values get the place `OPTION`.
        overrides: pairs (dotted path, value); a mapping as the value of a section replaces the section.

    Returns:
        Dotted path of a plain field -> value, for all that the overrides name.

    Raises:
        SpecError: two overrides contradict each other, or a plain value is in the way of one.
    """
    asked = sorted(overrides, key=lambda pair: pair[0].count("."))
    given: Given = {}
    for dotted, whole in asked:
        for path, value in _leaves(dotted, whole):
            value = texts.understood(value, path)
            if path in given and not _same(given[path], value):
                one, other = texts.shown(given[path]), texts.shown(value)
                raise SpecError(f"{OPTION}: {path} is given twice, as {one} and as {other}")
            given[path] = value
    for path in given:
        for outer in (other for other in given if path.startswith(f"{other}.")):
            raise SpecError(f"{OPTION}: {path} is given, and so is {outer}, as {texts.shown(given[outer])}")
    for dotted, value in asked:
        _replace(tree, origins, dotted, value)
    return given


def split_points(
    file: SearchFile, given: Given, found: dict[str, ranges.Range]
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """The points that agree with the command line, and for the index of each other one what contradicts.

    Args:
        file: the validated search file, with the values of the command line.
        given: as `apply` returns it.
        found: the ranges, dotted path -> range.
    """
    fixed = {path: found.get(path, v) for path, v in given.items() if _is_searchable(path)}
    against = {i: _contradiction(point, fixed, file) for i, point in enumerate(file.points)}
    kept = [point for i, point in enumerate(file.points) if against[i] is None]
    return kept, {i: reason for i, reason in against.items() if reason is not None}


def left_out(reasons: dict[int, str], points: int) -> str:
    """The sentence that names the points that are left out, of a file with this number of points."""
    alike: dict[str, list[str]] = {}
    for index, reason in reasons.items():
        alike.setdefault(reason, []).append(f"points.{index}")
    named = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in alike.items())
    return f"left out of the file's {points} points, because the command line says otherwise: {named}"


def _is_searchable(path: str) -> bool:
    return path.split(".")[0] in SEARCHABLE


def _contradiction(point: dict[str, Any], fixed: Given, file: SearchFile) -> str | None:
    for path, value in fixed.items():
        if path in point and not _holds(value, point[path]):
            return f"{path} is {texts.shown(point[path])}"
    for path in point:
        required = fields.requirement(path)
        if required is not None and required.slot.path in fixed:
            reason = fields.inactive_reason(path, point, file)
            if reason is not None:
                return f"{path} is given, but {reason}"
    return None


def _holds(value: Any, of_point: Any) -> bool:
    if isinstance(value, ranges.Uniform | ranges.Choice):
        return value.holds(of_point)
    return _same(value, of_point)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The plain fields that a value at a dotted path sets."""
    if isinstance(value, dict) and fields.section_at(search_file(), path) is not None:
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}", inner)
    else:
        yield path, value


def _replace(tree: dict[str, Any], origins: dict[str, str], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    node = tree
    for key in parents:
        if node.get(key) is None:
            node[key] = {}
        node = node[key]
        if not isinstance(node, dict):
            raise SpecError(f"{OPTION}: {dotted} is not a field; {key} is a plain value")
    node[last] = value
    for inside in [path for path in origins if path.startswith(dotted + ".")]:
        del origins[inside]
    for n in range(1, len(parents) + 2):
        origins.setdefault(".".join(dotted.split(".")[:n]), OPTION)
    origins[dotted] = OPTION
