"""Texts that stand for values: fractions such as `8/255`, times such as `30m`, and `yes` or `no`."""

import re
from typing import Any, get_args

from rtune.config import fields
from rtune.config.sections import TIMES, search_file

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DECIMAL = r"(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})"
_FRACTION = re.compile(rf"\s*({_DECIMAL})\s*/\s*([0-9]{{1,20}})\s*")
_GROUPED = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:_[0-9]{3}){1,6}")
_TIME = re.compile(r"\s*" + "".join(rf"(?:([0-9]+(?:\.[0-9]+)?)\s*{unit}\s*)?" for unit in _SECONDS))
_FLAGS = {"yes": True, "on": True, "no": False, "off": False}
_SHOWN = 80


def understood(value: Any, path: str = "") -> Any:
    """A copy of a search file's value in which texts are the numbers and truth values that they stand for.

    A text remains where the field expects one; and where it stands for nothing, so that the check of the
    field refuses it.

    Args:
        value: the content of the file, or of the field at `path`.
        path: dotted path; empty for the whole file.
    """
    if path == "points" and isinstance(value, list):
        return [{k: understood(v, str(k)) for k, v in p.items()} if isinstance(p, dict) else p for p in value]
    if path == "provenance":
        return value
    if isinstance(value, dict):
        leaf = path and fields.section_at(search_file(), path) is None
        return {k: understood(v, path if leaf else f"{path}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, list):
        return [understood(v, path) for v in value]
    if not isinstance(value, str) or path in TIMES:
        return value
    expected = _types(path)
    if bool in expected and value.lower() in _FLAGS:
        return _FLAGS[value.lower()]
    return number(value) if not expected or {int, float} & expected else value


def _types(path: str) -> set[type]:
    """The plain types of the values of a field; empty if there is no such field."""
    parents, _, last = path.rpartition(".")
    model = fields.section_at(search_file(), parents) if parents else search_file()
    field = model.model_fields.get(last) if model is not None else None
    return set() if field is None else set(_plain_types(field.annotation))


def _plain_types(annotation: Any) -> list[type]:
    inner = get_args(annotation)
    if not inner:
        return [annotation if isinstance(annotation, type) else type(annotation)]
    return [found for one in inner for found in _plain_types(one)]


def number(value: Any) -> Any:
    """The number of a text such as `8/255` or `1_000`; any other value unchanged."""
    if isinstance(value, str):
        if (match := _FRACTION.fullmatch(value)) and int(match[2]):
            return float(match[1]) / int(match[2])
        if _GROUPED.fullmatch(value):
            return int(value)
    return value


def seconds(text: str) -> float:
    """Seconds of a text such as `90`, `90s`, `1.5h`, `1h30m` or `1d`. Raises ValueError."""
    if re.fullmatch(r"\s*[0-9]+(\.[0-9]+)?\s*", text):
        return float(text)
    match = _TIME.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ValueError(f"is {shown(text)}; a time is a number with s, m, h or d, such as 30m or 1h30m")
    return sum(float(n) * _SECONDS[unit] for n, unit in zip(match.groups(), _SECONDS, strict=True) if n)


def hint(text: str) -> str:
    """`; did you mean ...?` for a text that looks like a number and may be misread; else empty."""
    if re.fullmatch(r"[-+]?[0-9]+,[0-9]+", text):
        return f"; did you mean {text.replace(',', '.')}?"
    if re.fullmatch(r"0+[0-9]+", text):
        return f"; did you mean {int(text)}?"
    if re.fullmatch(r"0[xX][0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[0-9]+(:[0-9]+)+(\.[0-9]*)?", text):
        return "; write a decimal number"
    return ""


def shown(value: Any) -> str:
    """A value for messages, as Python writes it; a long one is cut."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or a deep value
        return f"a {type(value).__name__} that is too long to print"
    return cut(text)


def cut(text: str) -> str:
    """A text for messages, without its end if it is long."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
