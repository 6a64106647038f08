"""Which points may be on the front of a random part of them."""

import math

import moocore
import numpy as np

_RARE = 1e-5
# Fronts that are peeled off at most; where more are needed the part is small, and thinning saves nothing.
_DEEPEST = 200


def near_front(points: np.ndarray, share: float, together: int = 1) -> np.ndarray:
    """Bool (n,): points that may be on the front of a random part of the points, up to one case in 100,000.

    A point of Pareto rank r is dominated by at least r others, and is on that front only if none of them is
    in the part.

    Args:
        points: (n, k), maximised.
        share: of the points that the part has, above 0; 1 gives the front itself.
        together: how many points, at most, are drawn into the part as one unit.
    """
    depth = math.ceil(math.log(_RARE) / math.log1p(-share)) if share < 1 else 1
    if depth > _DEEPEST:
        return np.ones(len(points), bool)
    if points.shape[1] == 2:
        return _first_fronts(points, depth * together)
    found = np.zeros(len(points), bool)
    left = np.arange(len(points))
    for _ in range(depth * together):
        if not len(left):
            break
        best = moocore.is_nondominated(points[left], maximise=True, keep_weakly=True)
        found[left[best]] = True
        left = left[~best]
    return found


def _first_fronts(points: np.ndarray, count: int) -> np.ndarray:
    """Bool (n,): points (n, 2) on the first `count` fronts, each a running maximum of y in the order of x."""
    order = np.lexsort((-points[:, 1], -points[:, 0]))
    ordered = points[order]
    new = np.ones(len(points), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    left = ordered[new, 1]
    at, kept = np.arange(len(left)), np.zeros(len(left), bool)
    for _ in range(count):
        best = np.ones(len(left), bool)
        best[1:] = left[1:] > np.maximum.accumulate(left)[:-1]
        kept[at[best]] = True
        at, left = at[~best], left[~best]
    found = np.zeros(len(points), bool)
    found[order] = kept[np.cumsum(new) - 1]
    return found
