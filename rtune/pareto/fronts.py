"""Points sorted into fronts by non-dominated rank, updated as points arrive."""

import moocore
import numpy as np

from rtune.pareto.hypervolume import finite

# Distance of a front's reference point below its worst values, as a share of each objective's range. It is
# small, so that a point which is best in one objective and worst in all others counts, but little.
_MARGIN = 0.1
# Exact hypervolume contributions take too long for large fronts in more dimensions than this.
EXACT_DIMENSIONS = 3
# Decimals to which contributions are compared. Other units or another order of equal points change the
# rounding, and promotions must not depend on that.
_DECIMALS = 9


class Fronts:
    """Exact non-dominated ranks of points that arrive one by one; all objectives are maximised.

    A new point joins the first front without a member that dominates it. The members that it dominates move
    one front down and may displace others there. The ranks equal those of sorting all points again.
    Each point has a name, and is marked as waiting or not.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._index: dict[str, int] = {}
        self._points: list[np.ndarray] = []  # of each front, (members, objectives)
        self._members: list[np.ndarray] = []  # of each front, indices into _names
        self._waiting: np.ndarray = np.zeros(64, bool)  # by index into _names
        self._rank_of: np.ndarray = np.zeros(64, int)  # by index into _names

    def ranked(self) -> list[list[str]]:
        """Names of each front, the best front first."""
        return [[self._names[i] for i in members] for members in self._members]

    def add(self, name: str, point: np.ndarray) -> None:
        """Adds a point (objectives,), larger is better, under a new name.

        Raises:
            ValueError: the point has a value that is not finite; nothing is changed.
        """
        points, members = finite(point[None, :], "a point of a front"), np.array([len(self._names)])
        rank = self._rank(point)
        self._index[name] = len(self._names)
        self._names.append(name)
        if len(self._names) > len(self._waiting):
            self._waiting = np.concatenate([self._waiting, np.zeros_like(self._waiting)])
            self._rank_of = np.concatenate([self._rank_of, np.zeros_like(self._rank_of)])
        while len(members):
            self._rank_of[members] = rank
            if rank == len(self._points):
                self._points.append(points)
                self._members.append(members)
                return
            own, own_members = self._points[rank], self._members[rank]
            beaten = _dominated(own, points)
            self._points[rank] = np.concatenate([own[~beaten], points])
            self._members[rank] = np.concatenate([own_members[~beaten], members])
            points, members = own[beaten], own_members[beaten]
            rank += 1

    def _rank(self, point: np.ndarray) -> int:
        """Index of the first front without a member that dominates `point`.

        Found by bisection: a point that a member of a front dominates is dominated in all better fronts too.
        """
        low, high = 0, len(self._points)
        while low < high:
            middle = (low + high) // 2
            own = self._points[middle]
            if (np.all(own >= point, axis=1) & np.any(own > point, axis=1)).any():
                low = middle + 1
            else:
                high = middle
        return low

    def set_waiting(self, name: str, waiting: bool) -> None:
        """Marks a name as waiting or not."""
        self._waiting[self._index[name]] = waiting

    def is_waiting(self, name: str) -> bool:
        """Whether a name is known and waiting."""
        return name in self._index and bool(self._waiting[self._index[name]])

    def first_waiting(self, quota: int) -> str | None:
        """The best waiting name, if it is among the best `quota` of all names; else None.

        The order is by rank, within a rank by `contributions`, then by arrival.
        """
        before = first = 0
        for rank in map(int, np.flatnonzero(np.bincount(self._rank_of[self._waiting]))):
            before += sum(map(len, self._members[first:rank]))
            first = rank
            if before >= quota:
                return None
            members = self._members[rank]
            inside = _ordered(self._points[rank], members)[: quota - before]
            found = next((i for i in inside if self._waiting[members[i]]), None)
            if found is not None:
                return self._names[int(members[found])]
        return None

    def position(self, name: str) -> int:
        """Place of a name in that order, 1 for the best."""
        wanted = self._index[name]
        rank = int(self._rank_of[wanted])
        members = self._members[rank]
        place = int(np.flatnonzero(members == wanted)[0])
        before = sum(map(len, self._members[:rank]))
        return before + _ordered(self._points[rank], members).index(place) + 1


def contributions(points: np.ndarray) -> np.ndarray:
    """Contribution of each point to its front: (n, objectives) -> (n,).

    It is the hypervolume that is lost without the point, with each objective scaled to the range of the
    front. With more than three objectives, where that takes seconds for a large front, it is the l1 distance
    to the nearest other point. Crowding distance is not used: it always favours the ends of a front, and one
    end is a network whose weights are all zero. A single point has contribution 0.

    Equal points count as one, and each has its contribution: on its own a twin would add nothing, and the
    best of a front would come last if another trial reached exactly the same.

    Raises:
        ValueError: a value is not finite.
    """
    distinct, place = _distinct(finite(points, "the points of a front"))
    if len(distinct) <= 1:
        return np.zeros(len(points))
    low, high = distinct.min(axis=0), distinct.max(axis=0)
    scaled = (distinct - low) / np.where(high > low, high - low, 1.0)
    if points.shape[1] <= EXACT_DIMENSIONS:
        found = np.asarray(moocore.hv_contributions(scaled, ref=-_MARGIN, maximise=True))
    else:
        found = np.array([np.partition(np.abs(scaled - p).sum(axis=1), 1)[1] for p in scaled])
    return np.asarray(found[place])


def _distinct(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct points (m, k) in the order of their first, and the index (n,) of each point's own."""
    _, first, inverse = np.unique(points + 0.0, axis=0, return_index=True, return_inverse=True)
    order = first.argsort()
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    return points[first[order]], place[inverse.ravel()]


def _ordered(points: np.ndarray, members: np.ndarray) -> list[int]:
    """Indices into a front from best to worst; equal ones in order of arrival."""
    return [int(i) for i in np.lexsort((members, -contributions(points).round(_DECIMALS)))]


def _dominated(points: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Mask (n,) of the points (n, objectives) that at least one of `by` (m, objectives) dominates."""
    if len(by) == 1:  # the most frequent case, several times faster
        return np.asarray(np.all(points <= by, axis=1) & np.any(points < by, axis=1))
    below = np.all(points[:, None, :] <= by[None], axis=2) & np.any(points[:, None, :] < by[None], axis=2)
    return np.asarray(below.any(axis=1))
