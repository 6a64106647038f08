"""What dotted paths such as `pruning.rgsm.beta` stand for in a search file."""

import difflib
from typing import Any, NamedTuple

from rtune.config.section import Section
from rtune.config.sections import SLOTS, SearchFile, Slot, search_file, slots, trial_config


class Opening(NamedTuple):
    """Under which parts a path counts: where `slot` names one of `names`."""

    slot: Slot
    names: tuple[str, ...]


def section_type(annotation: Any) -> type[Section] | None:
    """The section class of a field, if it holds one."""
    options = getattr(annotation, "__args__", (annotation,))
    return next((o for o in options if isinstance(o, type) and issubclass(o, Section)), None)


def is_selector(path: str) -> bool:
    """Whether a path names a part."""
    return any(path == slot.path for slot in SLOTS)


def is_leaf(path: str) -> bool:
    """Whether a path is a plain field of a trial's settings."""
    model: type[Section] | None = trial_config()
    for key in path.split("."):
        if model is None or key not in model.model_fields:
            return False
        model = section_type(model.model_fields[key].annotation)
    return model is None


def closed_by(path: str, values: dict[str, Any], file: SearchFile) -> str | None:
    """Why a path does not count: `pruning.method is rvsm`; None if it does."""
    opening = opened(path)
    if opening is None:
        return None
    slot = opening.slot
    chosen = values.get(slot.path, getattr(getattr(file, slot.section), slot.field))
    return None if chosen in opening.names else f"{slot.path} is {chosen}"


def opened(path: str) -> Opening | None:
    """The part that a path needs; None if it always counts."""
    section, _, rest = path.partition(".")
    name = rest.split(".")[0]
    for slot in slots(section):
        if any(name == part.name and part.settings is not None for part in slot.parts):
            return Opening(slot, (name,))
        if rest in slot.shared and (takers := slot.takers(rest)):
            return Opening(slot, takers)
    return None


def hint(path: str) -> str:
    """`; did you mean ...?` among the fields that stand where this one does."""
    *parents, last = path.split(".")
    model: type[Section] | None = search_file()
    for key in parents:
        field = model.model_fields.get(key) if model else None
        model = section_type(field.annotation) if field else None
    if model is None:
        return ""
    close = difflib.get_close_matches(last, model.model_fields, 1)
    known = ", ".join(k for k in model.model_fields if k != "provenance")
    return f"; did you mean {close[0]}?" if close else f"; known here: {known}"
