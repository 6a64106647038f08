"""How often points that are known with errors are dominated, when the truth is drawn again and again."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import moocore
import numpy as np

# Points this many standard errors of their difference apart are told apart: one chance in 30,000.
REACH = 4.0
# Points times draws at a time, which bounds the memory; after how many rivals one looks what is left.
_AT_ONCE = 1_000_000
_BLOCK = 64
_RARE = 1e-5
# So many fronts are taken off at most: a part that reaches deeper is small, and as fast when it is whole.
_DEEPEST = 200
# Rivals of a point. Where there are more that may dominate it, one of these does in almost every draw.
_MOST = 256

# (generator, places of m points, draws) -> truths (noisy objectives, m, draws).
Redraw = Callable[[np.random.Generator, np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Field:
    """Points, all to be maximised, and what is not known of them.

    Attributes:
        points: (n, k).
        errors: (n, k), standard errors; an objective is drawn if it has one above 0.
        redraw: draws the objectives that have errors.
    """

    points: np.ndarray
    errors: np.ndarray
    redraw: Redraw

    @property
    def noisy(self) -> np.ndarray:
        """Objectives (k,) that are not known exactly."""
        return np.asarray(np.logical_or.reduce(self.errors > 0))


@dataclass(frozen=True)
class Chances:
    """Of m points.

    Attributes:
        undominated: (m,), in how many of the draws nothing dominates the point, as a fraction.
        rival: (m,), the point that dominates it most often; -1 where none ever did.
        rival_share: (m,), how often, as a fraction.
    """

    undominated: np.ndarray
    rival: np.ndarray
    rival_share: np.ndarray


def could_matter(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Points (bool) whose best is not dominated by another's worst.

    Whatever one of the rest dominates, the other dominates too, but for the chance that the corners leave.

    Args:
        low, high: (n, k), the least and the most that each may be, maximised.
    """
    alive = np.arange(len(low))
    if len(low):
        corners = moocore.filter_dominated(low, maximise=True)
        span = np.ptp(corners, axis=0)
        # Those in the middle dominate the most: with them first, little is left for the others.
        order = (corners / np.where(span > 0, span, 1.0)).sum(axis=1).argsort()[::-1]
        best = np.ascontiguousarray(high.T)
        for corner in corners[order][:, :, None]:
            below = np.logical_and.reduce(best <= corner)
            if below.any():
                kept = ~(below & np.logical_or.reduce(best < corner))
                alive, best = alive[kept], best[:, kept]
    return np.isin(np.arange(len(low)), alive, assume_unique=True)


def near_front(points: np.ndarray, share: float, together: int = 1) -> np.ndarray:
    """Which (n,) may be on the front of a random part of the points, but for one case in 100,000.

    A point of Pareto rank r is dominated by r others at least, and is on that front only if the part has
    none of them.

    Args:
        points: (n, k), maximised.
        share: of the points in the part, above 0; with 1 the front itself is found.
        together: as many points at most come into the part only together.
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
    """Which (n,) of points in a plane are on the first fronts: by x, each is what is highest so far."""
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

    Only pairs that lie within `REACH` of each other are looked at, and drawn only what is in one.

    Args:
        field: all points that take part.
        at: (m,) places in `field` of those that are asked for.
        draws: at least 1.
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
    """The points (r,) that may dominate point i, likeliest first."""
    gap = field.points.T - field.points[i][:, None]
    error = np.hypot(field.errors.T, field.errors[i][:, None])
    near = np.logical_and.reduce(gap >= -REACH * error)
    near[i] = False
    gap, error, others = gap[:, near], error[:, near], np.flatnonzero(near)
    z = np.divide(gap, error, out=np.full_like(gap, np.inf), where=error > 0)
    # A logistic distribution of like slope in place of the normal one is near enough to rank by.
    order = np.logaddexp(0, -1.702 * z).sum(axis=0).argsort(kind="stable")
    return np.asarray(others[order[:_MOST]], np.int32)


def _play(truths: np.ndarray, i: int, others: np.ndarray) -> tuple[np.ndarray, int]:
    """How often each of the first rivals dominates point i, and in how many draws none at all does.

    Nothing that is drawn is ever equal, so that being as good is being better.
    """
    first = np.zeros(min(len(others), _BLOCK))
    left = np.arange(truths.shape[2])
    for start, end in ((0, _BLOCK), (_BLOCK, _MOST)):
        block = others[start:end]
        if not len(block) or not len(left):
            break
        # Most draws are settled by the likeliest rivals; the others are asked about the rest only.
        wins = np.ones((len(block), len(left)), bool)
        for drawn in truths:
            theirs = drawn[block] if len(left) == drawn.shape[1] else drawn[block[:, None], left]
            wins &= theirs >= drawn[i, left]
        if start == 0:
            first = wins.sum(axis=1)
        left = left[~wins.any(axis=0)]
    return first, len(left)


def _certain(field: Field, at: np.ndarray, rivals: list[np.ndarray]) -> Chances:
    """Without errors a point is dominated or not."""
    better = [
        others[(field.points[others] > field.points[i]).any(axis=1)]
        for i, others in zip(at, rivals, strict=True)
    ]
    lost = np.array([len(others) > 0 for others in better], bool)
    best = np.array([others[0] if len(others) else -1 for others in better], int)
    return Chances(1.0 - lost, best, lost.astype(float))
