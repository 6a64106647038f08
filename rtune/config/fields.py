"""Dotted paths of a search file, such as `pruning.rgsm.beta`: what they name and when they apply."""

import copy
import difflib
from typing import Any, NamedTuple

from rtune.config.section import Section
from rtune.config.sections import SLOTS, SearchFile, Slot, search_file, slots, trial_config


class Requirement(NamedTuple):
    """The condition under which a path applies: the field of `slot` must name one of the parts `names`."""

    slot: Slot
    names: tuple[str, ...]


def section_type(annotation: Any) -> type[Section] | None:
    """The section class of a field's annotation; None for a plain field."""
    options = getattr(annotation, "__args__", (annotation,))
    return next((o for o in options if isinstance(o, type) and issubclass(o, Section)), None)


def section_at(model: type[Section], path: str) -> type[Section] | None:
    """The section class at a dotted path below a section; None if there is no section."""
    found: type[Section] | None = model
    for key in path.split("."):
        field = found.model_fields.get(key) if found else None
        found = section_type(field.annotation) if field else None
    return found


def is_selector(path: str) -> bool:
    """Whether a path is a field that names a part, such as `pruning.method`."""
    return any(path == slot.path for slot in SLOTS)


def is_leaf(path: str) -> bool:
    """Whether a path is a plain field of a trial's settings."""
    model: type[Section] | None = trial_config()
    for key in path.split("."):
        if model is None or key not in model.model_fields:
            return False
        model = section_type(model.model_fields[key].annotation)
    return model is None


def inactive_reason(path: str, values: dict[str, Any], file: SearchFile) -> str | None:
    """Why a path does not apply, such as `pruning.method is rvsm`; None if it applies.

    Args:
        path: dotted path.
        values: searched values chosen so far (dotted path -> value).
        file: the search file, for all other values.
    """
    required = requirement(path)
    if required is None:
        return None
    slot = required.slot
    chosen = values.get(slot.path, getattr(getattr(file, slot.section), slot.field))
    return None if chosen in required.names else f"{slot.path} is {chosen}"


def requirement(path: str) -> Requirement | None:
    """The condition under which a path applies; None if it always applies."""
    section, _, rest = path.partition(".")
    name = rest.split(".")[0]
    for slot in slots(section):
        if any(name == part.name and part.settings is not None for part in slot.parts):
            return Requirement(slot, (name,))
        if rest in slot.shared and (takers := slot.takers(rest)):
            return Requirement(slot, takers)
    return None


def hint(path: str) -> str:
    """`; did you mean ...?` with the closest field of the same section, or a list of its fields."""
    parents, _, last = path.rpartition(".")
    model = section_at(search_file(), parents) if parents else search_file()
    if model is None:
        return ""
    close = difflib.get_close_matches(last, model.model_fields, 1)
    known = ", ".join(k for k in model.model_fields if k != "provenance")
    return f"; did you mean {close[0]}?" if close else f"; known here: {known}"


def value_at(tree: dict[str, Any], path: str) -> Any:
    """The value at a dotted path of a tree."""
    for key in path.split("."):
        tree = tree[key]
    return tree


def plain(tree: dict[str, Any], model: type[Section], prefix: str = "") -> dict[str, Any]:
    """Dotted path -> value of all plain fields of a tree of the class `model`."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        inner = section_at(model, name)
        if inner is not None and isinstance(value, dict):
            found |= plain(value, inner, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def replaced(tree: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A copy of a tree with other values at some dotted paths."""
    tree = copy.deepcopy(tree)
    for dotted, value in values.items():
        *parents, last = dotted.split(".")
        node = tree
        for key in parents:
            node = node[key]
        node[last] = value
    return tree
