"""Objectives of tables: see `rtune.pareto.objectives`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rtune.pareto.objectives import Objective, ObjectiveLike, parse, parse_all

__all__ = ["Objective", "ObjectiveLike", "number", "parse", "parse_all", "values"]


def number(value: float) -> str:
    """Three digits of a figure: `0.913`, `1,204,530`."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def values(networks: pd.DataFrame, asked: Sequence[ObjectiveLike]) -> np.ndarray:
    """Objectives (n, k) of all rows, all to be maximised: minimised ones are negated; nan where missing."""
    columns = [o.sign * networks[o.name].to_numpy(float, na_value=np.nan) for o in parse_all(asked)]
    return np.stack(columns, axis=1)
