"""Hypervolume of points of which every objective is to be large."""

import moocore
import numpy as np


def hypervolume(points: np.ndarray) -> float:
    """Volume that points (n, objectives) dominate above 0 in every objective; 0 without points."""
    if len(points) == 0:
        return 0.0
    return float(moocore.hypervolume(np.asarray(points, float), ref=0.0, maximise=True))
