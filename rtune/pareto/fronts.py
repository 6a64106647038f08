"""Points sorted by non-domination rank, kept sorted as points arrive."""

import moocore
import numpy as np

# How far below the worst of a front its reference point lies, as a share of each objective's range:
# the best in one objective counts even if it is the worst in all others, but not for much.
_MARGIN = 0.1
# Exact hypervolume contributions take too long for large fronts in more dimensions than this.
EXACT_DIMENSIONS = 3
# Decimals to which what points add is compared: equal figures in other units, or in another order, differ by
# rounding, and who goes on must not hang on that.
_DECIMALS = 9


class Fronts:
    """Exact Pareto ranks of points that arrive one by one; all objectives are maximised.

    A newcomer joins the first front without a member that dominates it, and pushes those that it
    dominates one front down, which push others. Ranks equal those of sorting all points anew.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._place: dict[str, int] = {}
        self._points: list[np.ndarray] = []  # of each front, (members, objectives)
        self._members: list[np.ndarray] = []  # of each front, places in _names
        self._held: np.ndarray = np.zeros(64, bool)  # by place in _names
        self._rank_of: np.ndarray = np.zeros(64, int)  # by place in _names

    def ranked(self) -> list[list[str]]:
        """Names of each front, the best front first."""
        return [[self._names[i] for i in members] for members in self._members]

    def add(self, name: str, point: np.ndarray) -> None:
        """Takes in a point (objectives,)."""
        rank = self._rank(point)
        points, members = point[None, :], np.array([len(self._names)])
        self._place[name] = len(self._names)
        self._names.append(name)
        if len(self._names) > len(self._held):
            self._held = np.concatenate([self._held, np.zeros_like(self._held)])
            self._rank_of = np.concatenate([self._rank_of, np.zeros_like(self._rank_of)])
        while len(members):
            self._rank_of[members] = rank
            if rank == len(self._points):
                self._points.append(points)
                self._members.append(members)
                return
            own, own_members = self._points[rank], self._members[rank]
            beaten = _beaten(own, points)
            self._points[rank] = np.concatenate([own[~beaten], points])
            self._members[rank] = np.concatenate([own_members[~beaten], members])
            points, members = own[beaten], own_members[beaten]
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

    def hold(self, name: str, held: bool) -> None:
        """Holds a name, or lets it go."""
        self._held[self._place[name]] = held

    def holds(self, name: str) -> bool:
        """Whether a name is there and held."""
        return name in self._place and bool(self._held[self._place[name]])

    def first_held(self, quota: int) -> str | None:
        """The best of those held, if it is among the best `quota` of all.

        By rank, within a rank by `spread`, then by arrival.
        """
        before = first = 0
        for rank in map(int, np.flatnonzero(np.bincount(self._rank_of[self._held]))):
            before += sum(map(len, self._members[first:rank]))
            first = rank
            if before >= quota:
                return None
            members = self._members[rank]
            inside = _ordered(self._points[rank], members)[: quota - before]
            found = next((i for i in inside if self._held[members[i]]), None)
            if found is not None:
                return self._names[int(members[found])]
        return None

    def position(self, name: str) -> int:
        """Place of a name, 1 for the best."""
        wanted = self._place[name]
        rank = int(self._rank_of[wanted])
        members = self._members[rank]
        place = int(np.flatnonzero(members == wanted)[0])
        before = sum(map(len, self._members[:rank]))
        return before + _ordered(self._points[rank], members).index(place) + 1


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
    if points.shape[1] <= EXACT_DIMENSIONS:
        return np.asarray(moocore.hv_contributions(scaled, ref=-_MARGIN, maximise=True))
    return np.array([np.partition(np.abs(scaled - p).sum(axis=1), 1)[1] for p in scaled])


def _ordered(points: np.ndarray, members: np.ndarray) -> list[int]:
    """Places in a front from best to worst; equal ones in order of arrival."""
    return [int(i) for i in np.lexsort((members, -spread(points).round(_DECIMALS)))]


def _beaten(points: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Which of points (n, objectives) at least one of `by` (m, objectives) dominates."""
    if len(by) == 1:  # most of the calls, and several times faster
        return np.asarray(np.all(points <= by, axis=1) & np.any(points < by, axis=1))
    below = np.all(points[:, None, :] <= by[None], axis=2) & np.any(points[:, None, :] < by[None], axis=2)
    return np.asarray(below.any(axis=1))
