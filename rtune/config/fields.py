"""What dotted paths such as `pruning.rgsm.beta` stand for in a search file."""

import difflib
from typing import Any

from rtune.config.sections import ONLY_UNDER, SELECTORS, SearchFile, Section, TrialConfig


def section_type(annotation: Any) -> type[Section] | None:
    """The section class of a field, if it holds one."""
    options = getattr(annotation, "__args__", (annotation,))
    return next((o for o in options if isinstance(o, type) and issubclass(o, Section)), None)


def options(section: str) -> list[str]:
    """Sub-sections of a section that its selector opens."""
    model = section_type(TrialConfig.model_fields[section].annotation)
    assert model is not None
    return [k for k, f in model.model_fields.items() if section_type(f.annotation) is not None]


def is_selector(path: str) -> bool:
    return any(path == f"{section}.{field}" for section, field in SELECTORS.items())


def is_leaf(path: str) -> bool:
    model: type[Section] | None = TrialConfig
    for key in path.split("."):
        if model is None or key not in model.model_fields:
            return False
        model = section_type(model.model_fields[key].annotation)
    return model is None


def closed_by(path: str, values: dict[str, Any], file: SearchFile) -> str | None:
    """Why a path does not count: `pruning.method is rvsm`; None if it does."""
    opening = openers(path)
    if not opening:
        return None
    section = path.split(".")[0]
    selector = f"{section}.{SELECTORS[section]}"
    chosen = values.get(selector, getattr(getattr(file, section), SELECTORS[section]))
    return None if chosen in opening else f"{selector} is {chosen}"


def openers(path: str) -> tuple[str, ...]:
    """Values of the section's selector under which a path counts; none if it always does."""
    section, _, rest = path.partition(".")
    name = rest.split(".")[0]
    if section in SELECTORS and name in options(section):
        return (name,)
    return ONLY_UNDER.get(path, ())


def hint(path: str) -> str:
    """`; did you mean ...?` among the fields that stand where this one does."""
    *parents, last = path.split(".")
    model: type[Section] | None = SearchFile
    for key in parents:
        field = model.model_fields.get(key) if model else None
        model = section_type(field.annotation) if field else None
    if model is None:
        return ""
    close = difflib.get_close_matches(last, model.model_fields, 1)
    known = ", ".join(k for k in model.model_fields if k != "provenance")
    return f"; did you mean {close[0]}?" if close else f"; known here: {known}"
