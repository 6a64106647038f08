"""Monte Carlo: how often points with random errors are dominated, and which points can matter at all."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import moocore
import numpy as np

# Points further apart, in standard errors of their difference, are never compared: p = 1/30,000.
REACH = 4.0
# Points times draws at a time, which bounds the memory; rivals that are compared in a first pass.
_AT_ONCE = 1_000_000
_BLOCK = 64
_RARE = 1e-5
# Fronts that are peeled off at most; where more are needed the part is small, and thinning saves nothing.
_DEEPEST = 200
# Rivals of a point that are compared: of more, one of the first dominates the point in nearly all draws.
_MOST = 256

# (generator, places of m points, draws) -> truths (noisy objectives, m, draws).
Redraw = Callable[[np.random.Generator, np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Field:
    """Points, all to be maximised, with random errors.

    Attributes:
        points: (n, k).
        errors: (n, k), standard errors; an objective is drawn if any of its errors is above 0.
        redraw: draws true values of the objectives that have errors.
    """

    points: np.ndarray
    errors: np.ndarray
    redraw: Redraw

    @property
    def noisy(self) -> np.ndarray:
        """Bool (k,): objectives that have errors."""
        return np.asarray(np.logical_or.reduce(self.errors > 0))


@dataclass(frozen=True)
class Chances:
    """Result of `chances` for m points.

    Attributes:
        undominated: (m,), fraction of the draws in which no other point dominates the point.
        rival: (m,), index of the point that dominates it most often; -1 where none ever did.
        rival_share: (m,), fraction of the draws in which that one does.
    """

    undominated: np.ndarray
    rival: np.ndarray
    rival_share: np.ndarray


def could_matter(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Bool (n,): points whose best case is not dominated by the worst case of another.

    A point that is left out can be ignored: what it dominates, the other point dominates too.

    Args:
        low, high: (n, k), worst and best case of each point, maximised.
    """
    alive = np.arange(len(low))
    if len(low):
        corners = moocore.filter_dominated(low, maximise=True)
        span = np.ptp(corners, axis=0)
        # Corners in the middle dominate the most points, so they come first.
        order = (corners / np.where(span > 0, span, 1.0)).sum(axis=1).argsort()[::-1]
        best = np.ascontiguousarray(high.T)
        for corner in corners[order][:, :, None]:
            below = np.logical_and.reduce(best <= corner)
            if below.any():
                kept = ~(below & np.logical_or.reduce(best < corner))
                alive, best = alive[kept], best[:, kept]
    return np.isin(np.arange(len(low)), alive, assume_unique=True)


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


def chances(field: Field, at: np.ndarray, draws: int, seed: int) -> Chances:
    """How often each of some points is dominated by any other.

    Only pairs within `REACH` of each other are compared, and only points in such a pair are drawn.

    Args:
        field: all points.
        at: (m,) indices in `field` of the points in question.
        draws: number of draws, at least 1.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    rivals = [_rivals(field, i) for i in at]
    used = np.unique(np.concatenate([at, *rivals])).astype(int)
    places = [np.searchsorted(used, others) for others in rivals]
    mine = np.searchsorted(used, at)
    clear = np.zeros(len(at))
    beaten = [np.zeros(min(len(others), _BLOCK)) for others in rivals]
    size = max(1, min(draws, _AT_ONCE // max(1, len(used))))
    for start in range(0, draws if field.noisy.any() else 0, size):
        truths = field.redraw(rng, used, min(size, draws - start))
        for row, others in enumerate(places):
            first, left = _play(truths, mine[row], others)
            beaten[row] += first
            clear[row] += left
    if not field.noisy.any():
        return _certain(field, at, rivals)
    best = [int(count.argmax()) if count.any() else -1 for count in beaten]
    return Chances(
        clear / draws,
        np.array([-1 if b < 0 else rivals[row][b] for row, b in enumerate(best)], int),
        np.array([0.0 if b < 0 else beaten[row][b] / draws for row, b in enumerate(best)]),
    )


def _rivals(field: Field, i: int) -> np.ndarray:
    """Indices (r,) of the points that may dominate point i, most likely first."""
    gap = field.points.T - field.points[i][:, None]
    error = np.hypot(field.errors.T, field.errors[i][:, None])
    near = np.logical_and.reduce(gap >= -REACH * error)
    near[i] = False
    gap, error, others = gap[:, near], error[:, near], np.flatnonzero(near)
    z = np.divide(gap, error, out=np.full_like(gap, np.inf), where=error > 0)
    # A logistic distribution is close enough to the normal one for a ranking, and faster.
    order = np.logaddexp(0, -1.702 * z).sum(axis=0).argsort(kind="stable")
    return np.asarray(others[order[:_MOST]], np.int32)


def _play(truths: np.ndarray, i: int, others: np.ndarray) -> tuple[np.ndarray, int]:
    """In how many draws each of the first rivals dominates point i, and in how many none at all does.

    Drawn values are never equal, so "at least as good" means "better".
    """
    first = np.zeros(min(len(others), _BLOCK))
    left = np.arange(truths.shape[2])
    for start, end in ((0, _BLOCK), (_BLOCK, _MOST)):
        block = others[start:end]
        if not len(block) or not len(left):
            break
        # The most likely rivals settle most draws; the others are compared in the rest only.
        wins = np.ones((len(block), len(left)), bool)
        for drawn in truths:
            theirs = drawn[block] if len(left) == drawn.shape[1] else drawn[block[:, None], left]
            wins &= theirs >= drawn[i, left]
        if start == 0:
            first = wins.sum(axis=1)
        left = left[~wins.any(axis=0)]
    return first, len(left)


def _certain(field: Field, at: np.ndarray, rivals: list[np.ndarray]) -> Chances:
    """The result where nothing has errors: each point is dominated or not."""
    better = [
        others[(field.points[others] > field.points[i]).any(axis=1)]
        for i, others in zip(at, rivals, strict=True)
    ]
    lost = np.array([len(others) > 0 for others in better], bool)
    best = np.array([others[0] if len(others) else -1 for others in better], int)
    return Chances(1.0 - lost, best, lost.astype(float))
