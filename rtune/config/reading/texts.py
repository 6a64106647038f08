"""Texts that stand for numbers: fractions such as `8/255` and times such as `30m`."""

import contextlib
import re
from typing import Any

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def numbers(value: Any) -> Any:
    """The tree with fractions such as `8/255` replaced by numbers."""
    if isinstance(value, dict):
        return {k: numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [numbers(v) for v in value]
    return number(value)


def number(value: Any) -> Any:
    """The number of a text such as `8/255`; any other value unchanged."""
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9.]{1,20})/([0-9]{1,20})", value)):
        with contextlib.suppress(ValueError, ZeroDivisionError):  # 1.2.3/4 and 1/0 remain texts
            return float(match[1]) / int(match[2])
    return value


def seconds(text: str) -> float:
    """Seconds of a text such as `90`, `90s`, `30m`, `2h` or `1d`. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if match is None:
        raise ValueError(f"is {text!r}; a time is a number with s, m, h or d, such as 30m")
    return float(match[1]) * _SECONDS[match[2] or "s"]
