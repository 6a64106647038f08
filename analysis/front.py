"""Fronts and hypervolume; objectives are fractions in [0, 1] and maximised."""

from collections.abc import Sequence

import moocore
import numpy as np
import pandas as pd


def front(networks: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """The rows that no other row dominates, best first in the first objective.

    Equal rows are all kept. Rows that lack an objective are left out.
    """
    known = networks.dropna(subset=list(objectives))
    if known.empty:
        return known
    points = known[list(objectives)].to_numpy(float)
    best = moocore.is_nondominated(points, maximise=True, keep_weakly=True)
    members: pd.DataFrame = known[best]
    return members.sort_values(list(objectives), ascending=False, kind="stable")


def hypervolume(points: np.ndarray) -> float:
    """Volume dominated by points (n, objectives), against the reference 0 in every objective.

    In [0, 1]; 0 without points.
    """
    if len(points) == 0:
        return 0.0
    return float(moocore.hypervolume(np.asarray(points, float), ref=0.0, maximise=True))
