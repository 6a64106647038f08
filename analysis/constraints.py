"""Constraints on metrics such as `robust_accuracy>=0.45`, and the best network under them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rtune.errors import ObjectiveError
from rtune.metrics import METRICS

from .objectives import ObjectiveLike, parse

_OPERATORS = {
    ">=": np.greater_equal,
    "<=": np.less_equal,
    ">": np.greater,
    "<": np.less,
    "==": np.equal,
}


@dataclass(frozen=True)
class Constraint:
    """A comparison of a metric with a number, such as `robust_accuracy>=0.45`."""

    name: str
    operator: str
    value: float

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.value:g}"


def parse_constraint(text: str) -> Constraint:
    """Raises ObjectiveError for what is no constraint on a metric."""
    match = re.fullmatch(r"\s*([a-z][a-z0-9_]*)\s*(>=|<=|==|>|<)\s*([^\s=]\S*)\s*", text)
    if match is None:
        raise ObjectiveError(
            f"constraint {text!r} is not a metric, one of >= <= > < == and a number, "
            "such as robust_accuracy>=0.45"
        )
    name, operator, number = match.groups()
    if name not in METRICS:
        raise ObjectiveError(f"constraint {text!r}: {name!r} is none of {', '.join(METRICS.names())}")
    try:
        value = float(number)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ObjectiveError(f"constraint {text!r}: {number!r} is no number")
    return Constraint(name, operator, value)


def where(networks: pd.DataFrame, constraints: Iterable[str | Constraint]) -> pd.DataFrame:
    """The rows that meet all constraints; one that lacks a metric does not. Raises ObjectiveError."""
    kept = networks
    for one in constraints:
        constraint = parse_constraint(one) if isinstance(one, str) else one
        column = kept[constraint.name].to_numpy(float, na_value=np.nan)
        kept = kept[_OPERATORS[constraint.operator](column, constraint.value)]
    return kept


def best(
    networks: pd.DataFrame, objective: ObjectiveLike, constraints: Iterable[str | Constraint] = ()
) -> pd.DataFrame:
    """The rows that meet all constraints, best first in one objective; rows that lack it are left out.

    Raises:
        ObjectiveError: see `parse`, `parse_constraint`.
    """
    asked = parse(objective)
    kept = where(networks, constraints).dropna(subset=[asked.name])
    return kept.sort_values(asked.name, ascending=not asked.maximise, kind="stable")
