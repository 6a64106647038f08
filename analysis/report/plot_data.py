"""The networks of a run set as plain JSON values, from which the page's plots are drawn."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rtune.metrics import METRICS

from ..objectives import Objective
from .run_set import RunSet

# How many networks off the front are drawn, and how many plots of pairs of objectives there are, at most.
MOST_POINTS, MOST_PAIRS = 3000, 6


def drawn(run_set: RunSet) -> pd.DataFrame:
    """The networks that are drawn: the whole front, and of the others a random sample if they are many."""
    others = run_set.networks.drop(index=run_set.members.index)
    if len(others) > MOST_POINTS:
        others = others.sample(MOST_POINTS, random_state=0).sort_index()
    return pd.concat([run_set.members, others])


def pairs(objectives: Sequence[Objective]) -> list[tuple[str, str]]:
    """Axes (x, y) of the scatter plots: each pair of objectives; of one objective, it and the parameters."""
    names = [objective.name for objective in objectives]
    if len(names) == 1:
        return [("parameters" if names[0] != "parameters" else "macs", names[0])]
    found = [(b, a) for a, b in itertools.combinations(names, 2)]
    return found[:MOST_PAIRS]


def points(
    run_set: RunSet, rows: pd.DataFrame, uncertain: set[str], derived: Mapping[str, "pd.Series[float]"]
) -> dict[str, Any]:
    """Networks as columns of equal length.

    Args:
        run_set: with at least one network.
        rows: the networks that are drawn.
        uncertain: trials that get a hollow marker.
        derived: further columns, by the index of `run_set.networks`.

    Returns:
        `id` (trial), `kind` (index into the sorted kinds), `front` and `noise` (0 or 1), `metrics`, and
        `values` (settings and what is derived from them), both name -> column.
    """
    kinds = sorted(run_set.networks["kind"].unique())
    on = rows.index.isin(run_set.members.index)
    metrics = [name for name in METRICS.names() if name in rows]
    settings = {path: rows[path] for path in run_set.searched} | {
        name: column.reindex(rows.index) for name, column in derived.items()
    }
    return {
        "id": rows["trial"].tolist(),
        "kind": rows["kind"].map({kind: i for i, kind in enumerate(kinds)}).tolist(),
        "front": on.astype(int).tolist(),
        "noise": [int(trial in uncertain) for trial in rows["trial"]],
        "metrics": {name: plain(rows[name]) for name in metrics} | {"epoch": plain(rows["epoch"])},
        "values": {path: plain(column) for path, column in settings.items()},
    }


def plain(column: "pd.Series[Any]") -> list[Any]:
    """A column's values for JSON: six significant digits of a number, null for what is missing."""
    if pd.api.types.is_bool_dtype(column):
        return [str(value) for value in column]
    if pd.api.types.is_numeric_dtype(column):
        found = column.to_numpy(float, na_value=np.nan)
        return [None if np.isnan(v) else int(v) if v == int(v) else float(f"{v:.6g}") for v in found]
    return [
        None if pd.isna(value) else value if isinstance(value, int | float) else str(value)
        for value in column
    ]
