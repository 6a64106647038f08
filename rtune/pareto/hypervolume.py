"""Hypervolume for objectives that are all maximised."""

import moocore
import numpy as np


def hypervolume(points: np.ndarray) -> float:
    """Hypervolume of points (n, objectives) with the reference point 0; 0 without points."""
    if len(points) == 0:
        return 0.0
    return float(moocore.hypervolume(np.asarray(points, float), ref=0.0, maximise=True))
