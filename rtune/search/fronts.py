"""Points sorted by non-domination rank, kept sorted as points arrive."""

import moocore
import numpy as np

# How far below the worst of a front its reference point lies, as a share of each objective's range:
# the best in one objective counts even if it is the worst in all others, but not for much.
_MARGIN = 0.1
# Exact hypervolume contributions take too long for large fronts in more dimensions than this.
_EXACT_DIMENSIONS = 3


class Fronts:
    """Exact Pareto ranks of points that arrive one by one; all objectives are maximised.

    A newcomer joins the first front without a member that dominates it, and pushes those that it
    dominates one front down, which push others. Ranks equal those of sorting all points anew.
    """

    def __init__(self) -> None:
        self._points: list[np.ndarray] = []
        self._names: list[list[str]] = []

    def __len__(self) -> int:
        return sum(len(names) for names in self._names)

    def add(self, name: str, point: np.ndarray) -> None:
        """Takes in a point (objectives,)."""
        rank = self._rank(point)
        points, names = point[None, :], [name]
        while points.size:
            if rank == len(self._points):
                self._points.append(points)
                self._names.append(names)
                return
            own, own_names = self._points[rank], self._names[rank]
            beaten = _beaten(own, points)
            self._points[rank] = np.concatenate([own[~beaten], points])
            self._names[rank] = [n for n, b in zip(own_names, beaten, strict=True) if not b] + names
            points, names = own[beaten], [n for n, b in zip(own_names, beaten, strict=True) if b]
            rank += 1

    def _rank(self, point: np.ndarray) -> int:
        """The first front without a member that dominates `point`: whatever a front's member beats,
        one of the front above beats too, so it can be bisected."""
        low, high = 0, len(self._points)
        while low < high:
            middle = (low + high) // 2
            own = self._points[middle]
            if (np.all(own >= point, axis=1) & np.any(own > point, axis=1)).any():
                low = middle + 1
            else:
                high = middle
        return low

    def first(self, among: set[str], quota: int) -> str | None:
        """The best of some names, if it is among the best `quota` of all.

        By rank, within a rank by `spread`, then by arrival.
        """
        before = 0
        for points, names in zip(self._points, self._names, strict=True):
            if before >= quota:
                return None
            if not among.isdisjoint(names):  # ordering a front costs more than looking at it
                inside = _ordered(points)[: quota - before]
                found = next((names[i] for i in inside if names[i] in among), None)
                if found is not None:
                    return found
            before += len(names)
        return None

    def position(self, name: str) -> int:
        """Place of a name, 1 for the best."""
        before = 0
        for points, names in zip(self._points, self._names, strict=True):
            if name in names:
                return before + _ordered(points).index(names.index(name)) + 1
            before += len(names)
        raise KeyError(name)


def spread(points: np.ndarray) -> np.ndarray:
    """What each point of one front (n, objectives) adds to it, (n,).

    The hypervolume that is lost without the point, each objective scaled to the front's own range.
    Plain crowding would always keep the ends of a front, and one end here is a network that is all
    zeros and knows nothing. With more than three objectives, where that takes seconds for a large
    front, the distance to the nearest other point.
    """
    if len(points) == 1:
        return np.zeros(1)
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    if points.shape[1] <= _EXACT_DIMENSIONS:
        return np.asarray(moocore.hv_contributions(scaled, ref=-_MARGIN, maximise=True))
    return np.array([np.partition(np.abs(scaled - p).sum(axis=1), 1)[1] for p in scaled])


def _ordered(points: np.ndarray) -> list[int]:
    return [int(i) for i in np.argsort(-spread(points), kind="stable")]


def _beaten(points: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Which of points (n, objectives) at least one of `by` (m, objectives) dominates."""
    below = np.all(points[:, None, :] <= by[None], axis=2) & np.any(points[:, None, :] < by[None], axis=2)
    return np.asarray(below.any(axis=1))
