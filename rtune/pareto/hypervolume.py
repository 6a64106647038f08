"""Hypervolume for objectives that are all maximised."""

import moocore
import numpy as np


def finite(points: np.ndarray, what: str) -> np.ndarray:
    """The points (n, objectives) as floats.

    With nan nothing is dominated, and a hypervolume is 0, nan or never found; with inf it has no size. So
    neither is taken: a trial with such a value has diverged, and rows that lack a value are left out before.

    Args:
        points: (n, objectives).
        what: the points in the error, such as `the points of a front`.

    Raises:
        ValueError: a value is nan or infinite.
    """
    made = np.asarray(points, float)
    bad = np.argwhere(~np.isfinite(made))
    if len(bad):
        where = " and ".join(f"{name} {i}" for name, i in zip(("row", "objective"), bad[0], strict=False))
        raise ValueError(f"{what} must have finite values, not {made[tuple(bad[0])]} ({where}, from 0)")
    return made


def hypervolume(points: np.ndarray) -> float:
    """Hypervolume of points (n, objectives) with the reference point 0; 0 without points.

    Raises:
        ValueError: a value is nan or infinite.
    """
    made = finite(points, "the points of a hypervolume")
    return float(moocore.hypervolume(made, ref=0.0, maximise=True)) if len(made) else 0.0
