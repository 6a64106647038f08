"""Attainment in the plane of two objectives: how many sets of seeds, or runs, reach a place.

A set of networks attains a place if one of them is at least as good there in both objectives.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import comb

import moocore
import numpy as np
import pandas as pd

from ..objectives import Objective, ObjectiveLike, complete, parse_all, values
from ..seeds import replicate_sets


def attainment(
    networks: pd.DataFrame,
    objectives: Sequence[ObjectiveLike],
    searched: Sequence[str],
    levels: Sequence[float] = (25, 50, 75),
) -> dict[float, np.ndarray] | None:
    """Attainment surfaces over seeds (Grunert da Fonseca, Fonseca and Hall 2001); None without replicates.

    The sets are those of `analysis.seeds.replicate_sets`.

    Args:
        networks: one row a network; those that lack an objective are left out.
        objectives: two.
        searched: dotted paths of the searched values.
        levels: in percent of the sets, above 0 and up to 100.

    Returns:
        Level -> a staircase (m, 2), ordered by the first objective, in the objectives' own units: at
        least this share of the sets has a network as good as any point on it.

    Raises:
        ObjectiveError: see `parse`.
        ValueError: there are not two objectives.
    """
    asked = parse_all(objectives)
    if len(asked) != 2:
        raise ValueError(f"attainment surfaces are of two objectives, not of {len(asked)}")
    sets = replicate_sets(networks, asked, searched)
    if not sets:
        return None
    which = np.repeat(np.arange(len(sets)), [len(points) for points in sets])
    # moocore minimises here, and expects the rows of a set together.
    found = moocore.eaf(-np.concatenate(sets), which, percentiles=levels)
    signs = np.array([1.0 if o.maximise else -1.0 for o in asked])
    return {level: _stairs(-found[found[:, 2] == level, :2], signs) for level in levels}


def attainment_difference(
    a: pd.DataFrame, b: pd.DataFrame, objectives: Sequence[ObjectiveLike], searched: Sequence[str] = ()
) -> pd.DataFrame | None:
    """Where in the plane of two objectives A is attained more often than B, from set to set.

    Sets are the runs where each side has several (see `by_runs`), else those of
    `analysis.seeds.replicate_sets`. If one side has more sets its last ones are left out: moocore counts
    sets, and rounds where the numbers differ (Lopez-Ibanez, Paquete and Stuetzle 2010).

    Args:
        a, b: one row a network; those that lack an objective are left out.
        objectives: two.
        searched: dotted paths of the searched values.

    Returns:
        Rectangles that do not overlap, in the objectives' own units and possibly unbounded: `x_low`,
        `x_high`, `y_low`, `y_high`, `difference` (share of A's sets that attain the place minus that of
        B's, in [-1, 1], not 0). None where a side has fewer than two sets.

    Raises:
        ObjectiveError: see `parse`.
        ValueError: there are not two objectives.
    """
    asked = parse_all(objectives)
    if len(asked) != 2:
        raise ValueError(f"attainment is compared in two objectives, not in {len(asked)}")
    sets = _paired(a, b, asked, searched)
    if sets is None:
        return None
    found = _differences(*sets)
    found = found[found[:, 4] != 0]
    signs = np.array([1.0 if o.maximise else -1.0 for o in asked] * 2)
    corners = found[:, :4] * signs
    ends = [np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])]
    columns = {
        "x_low": ends[0][:, 0],
        "x_high": ends[1][:, 0],
        "y_low": ends[0][:, 1],
        "y_high": ends[1][:, 1],
    }
    return pd.DataFrame(columns | {"difference": found[:, 4] / len(sets[0])})


def attainment_test(
    a: pd.DataFrame,
    b: pd.DataFrame,
    objectives: Sequence[ObjectiveLike],
    searched: Sequence[str] = (),
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float, int] | None:
    """The largest attainment differences, and a permutation test of the null hypothesis of no difference.

    The sets of both sides are divided again, in every possible way where these are at most `draws`; the
    statistic is the largest difference in either direction (the two-sample test of Shaw et al. 1999 and of
    Grunert da Fonseca, Fonseca and Hall 2001). With n sets a side no p-value is below 2 / C(2n, n).

    Args:
        a, b, objectives, searched: as for `attainment_difference`.
        draws: number of divisions, at most.
        seed: of the draws.

    Returns:
        The largest difference in favour of A and the largest in favour of B, as shares of the sets in
        [0, 1]; the p-value of the larger; the number of sets a side. None where a side has fewer than two.
    """
    asked = parse_all(objectives)
    sets = _paired(a, b, asked, searched)
    if sets is None:
        return None
    pooled, count = [*sets[0], *sets[1]], len(sets[0])
    ahead = np.array(
        [
            _ahead(*([pooled[j] for j in np.flatnonzero(side)] for side in (chosen, ~chosen)))
            for chosen in divisions(2 * count, count, draws, np.random.default_rng(seed))
        ]
    )
    largest = ahead.max(axis=1)
    a_ahead, b_ahead = ahead[0] / count
    return float(a_ahead), float(b_ahead), float(np.mean(largest >= largest[0])), count


def divisions(total: int, first: int, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Divisions for a permutation test: bool (total,) of the first side's members, the observed one first.

    All divisions into `first` and the rest where these are at most `draws`, else the observed one and
    `draws` random ones. In both cases the share of those at least as extreme as the observed one is an
    exact p-value.
    """
    # The first condition avoids computing a huge binomial coefficient.
    if (total <= draws or first in (0, total)) and comb(total, first) <= draws:
        yield from (mask(total, list(chosen)) for chosen in combinations(range(total), first))
        return
    yield mask(total, np.arange(first))
    for _ in range(draws):
        yield mask(total, rng.permutation(total)[:first])


def mask(total: int, chosen: Sequence[int] | np.ndarray) -> np.ndarray:
    """Bool (total,): whether each is among the chosen indices."""
    found = np.zeros(total, bool)
    found[chosen] = True
    return found


def _paired(
    a: pd.DataFrame, b: pd.DataFrame, asked: Sequence[Objective], searched: Sequence[str]
) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """Equally many sets of each side; None where there are fewer than two."""
    several = by_runs(a, b)
    sides = [_sets(side, asked, searched, several) for side in (a, b)]
    count = min(len(sets) for sets in sides)
    return None if count < 2 else (sides[0][:count], sides[1][:count])


def _differences(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> np.ndarray:
    """Rectangles (m, 5), maximised; the last column is how many more of our sets than of theirs attain it."""
    tables = [
        np.concatenate([np.insert(points, 2, j, axis=1) for j, points in enumerate(sets)])
        for sets in (ours, theirs)
    ]
    try:
        found: np.ndarray = moocore.eafdiff(*tables, maximise=True, rectangles=True)
    except ValueError:  # moocore 0.3 raises it for sets that all consist of one and the same point
        return np.zeros((0, 5))
    return found


def _ahead(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> tuple[float, float]:
    """Largest difference in sets in favour of ours, and in favour of theirs."""
    more = _differences(ours, theirs)[:, 4]
    return float(more.max(initial=0)), float((-more).max(initial=0))


def by_runs(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Whether each side has networks of several runs (column `run`), so that the runs are its sets."""
    return all("run" in side and side["run"].nunique() > 1 for side in (a, b))


def _sets(
    side: pd.DataFrame, asked: Sequence[Objective], searched: Sequence[str], runs: bool
) -> list[np.ndarray]:
    if runs:
        known = complete(side, asked)
        return [values(part, asked) for _, part in known.groupby("run", sort=True)]
    return replicate_sets(side, asked, searched) if searched else []


def _stairs(points: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """The border (m, 2) of what maximised points (n, 2) dominate, times `signs`."""
    ordered = points[np.lexsort((-points[:, 1], points[:, 0]))]
    corners = np.stack([ordered[:-1, 0], ordered[1:, 1]], axis=1)
    steps = np.stack([corners, ordered[1:]], axis=1).reshape(-1, 2)
    line: np.ndarray = np.concatenate([ordered[:1], steps]) * signs
    return line if signs[0] > 0 else line[::-1]
