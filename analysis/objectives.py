"""Objectives of tables: see `rtune.pareto.objectives`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rtune.pareto.hypervolume import finite
from rtune.pareto.objectives import Objective, ObjectiveLike, parse, parse_all

__all__ = ["Objective", "ObjectiveLike", "complete", "number", "parse", "parse_all", "values"]


def number(value: float) -> str:
    """Three digits of a figure: `0.913`, `1,204,530`."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def values(networks: pd.DataFrame, asked: Sequence[ObjectiveLike]) -> np.ndarray:
    """Objectives (n, k) of all rows, all to be maximised: minimised ones are negated; nan where missing."""
    columns = [o.sign * networks[o.name].to_numpy(float, na_value=np.nan) for o in parse_all(asked)]
    return np.stack(columns, axis=1)


def complete(networks: pd.DataFrame, asked: Sequence[ObjectiveLike]) -> pd.DataFrame:
    """The networks that have all objectives; one that lacks a value, such as a diverged one, is left out.

    Raises:
        ValueError: a value is infinite.
    """
    objectives = parse_all(asked)
    known: pd.DataFrame = networks.dropna(subset=[o.name for o in objectives])
    finite(values(known, objectives), "objectives")
    return known
