"""Ranges: what a search file may give instead of a value to have it searched."""

import math
import sys
from dataclasses import dataclass
from typing import Any

from rtune.config.reading import texts

# Larger integers are no longer exact as floating-point numbers, nor in logs.
_LARGEST = 2**53
# The most values of an integer range that are validated one by one.
_MANY = 128


@dataclass(frozen=True)
class Uniform:
    """Numbers from `low` to `high`, both included; with `log` uniform in the logarithm."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def probes(self) -> list[Any]:
        """Values that are validated in place of the range: all of them, or both ends and some between."""
        if self.integer:
            first, last = int(self.low), int(self.high)
            if last - first < _MANY:
                return list(range(first, last + 1))
            return [first, last, *range(first + 1, first + _MANY - 1)]
        low, high = float(self.low), float(self.high)
        middle = (low + high) / 2
        # Not a whole number, so that an integer field rejects the range.
        return [low, high, middle if not middle.is_integer() else middle + (high - middle) / math.pi]

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the range."""
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of `values`, which are numbers, texts or booleans."""

    values: tuple[Any, ...]

    def probes(self) -> list[Any]:
        return list(self.values)

    def repeats(self) -> bool:
        """Whether two of the values are the same number, such as 1 and 1.0."""
        return len({(isinstance(value, bool), value) for value in self.values}) < len(self.values)

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the range."""
        return value in self.values


Range = Uniform | Choice
KINDS = ("uniform", "log_uniform", "int_uniform", "log_int_uniform", "choice")


def parse(value: dict[Any, Any]) -> Range:
    """The range of a mapping such as {log_uniform: [1e-3, 1]}.

    Raises:
        ValueError: the mapping is no range; the message continues a sentence that names the field.
    """
    if len(value) != 1 or (kind := next(iter(value))) not in KINDS:
        raise ValueError(
            f"is {texts.shown(value)}; a range is one of {', '.join(KINDS)}, "
            "such as {log_uniform: [1e-3, 1]}"
        )
    bounds = value[kind]
    if not isinstance(bounds, list):
        raise ValueError(f"has {kind}: {texts.shown(bounds)}; a list is expected")
    if kind == "choice":
        return _parse_choice(bounds)
    integer = "int" in kind
    numbers = int if integer else int | float
    if len(bounds) != 2 or not all(isinstance(b, numbers) and not isinstance(b, bool) for b in bounds):
        raise ValueError(
            f"has {kind}: {texts.shown(bounds)}; two {'whole ' if integer else ''}numbers are expected, "
            "low and high"
        )
    low, high = bounds
    if not all(abs(bound) <= (_LARGEST if integer else sys.float_info.max) for bound in bounds):
        raise ValueError(f"has {kind}: {texts.shown(bounds)}; a bound is too large, or no number")
    if not low < high:
        state = "empty" if low == high else "reversed"
        raise ValueError(f"has {kind}: {texts.shown(bounds)}, which is {state}; low must be below high")
    log = kind.startswith("log")
    if log and low <= 0:
        raise ValueError(f"has {kind}: {texts.shown(bounds)}; low must be above 0 on a logarithmic scale")
    return Uniform(low, high, log, integer)


def dump(domain: Range) -> dict[str, list[Any]]:
    """The mapping that `parse` reads."""
    if isinstance(domain, Choice):
        return {"choice": list(domain.values)}
    kind = "log_" * domain.log + "int_" * domain.integer + "uniform"
    return {kind: [domain.low, domain.high]}


def _parse_choice(values: list[Any]) -> Choice:
    if not values:
        raise ValueError("has an empty choice; at least one value is expected")
    if not all(isinstance(v, str | int | float | bool) for v in values):
        raise ValueError(f"has choice: {texts.shown(values)}; numbers, texts or booleans are expected")
    if any(isinstance(v, int) and abs(v) > _LARGEST for v in values):
        raise ValueError(f"has choice: {texts.shown(values)}; a number is too large")
    if len({(type(v), v) for v in values}) < len(values):
        raise ValueError(f"has choice: {texts.shown(values)}; each value may be listed once")
    return Choice(tuple(values))
