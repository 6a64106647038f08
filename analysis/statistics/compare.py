"""Comparison of two sets of networks: hypervolume ratio, additive epsilon indicator, attainment."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import moocore
import numpy as np
import pandas as pd

from rtune import metrics

from ..front import front, reference
from ..objectives import Objective, ObjectiveLike, complete, number, parse_all, values
from ..seeds import replicates
from .attainment import attainment_difference, divisions, mask
from .dominance import near_front

# Fewer trials a side cannot be halved in a useful way.
LEAST = 3
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Comparison:
    """Comparison of two sets of networks, A and B. Pairs are in this order.

    Attributes:
        objectives: in which they are compared.
        sizes: networks that have every objective.
        fronts: of each alone.
        reference: objective -> reference point of the hypervolume, the same for both.
        hypervolumes: in the product of the objectives' units.
        ratio: A's over B's; None where B has none.
        ratio_low, ratio_high: its 95 % interval; None below `LEAST` trials a side.
        p_value: of the hypervolumes' difference, two-sided, in [0, 1]; None without networks on a side.
        epsilon_p: of the difference of the two epsilons, likewise.
        epsilons: the additive epsilon indicators: by how much A must improve in every objective to weakly
            dominate B, and B to weakly dominate A. Fractions; of costs, fractions of `largest`. At most 0
            where it already does. None without networks on a side.
        largest: cost among the objectives -> the largest value on either front.
        noise: two accuracies must differ by more than this to differ at the 5 % level, given the number of
            images; None where that is not known.
        attainment: see `analysis.statistics.attainment`; None unless there are two objectives.
    """

    objectives: list[Objective]
    sizes: tuple[int, int]
    fronts: tuple[pd.DataFrame, pd.DataFrame]
    reference: dict[str, float]
    hypervolumes: tuple[float, float]
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    p_value: float | None
    epsilon_p: float | None
    epsilons: tuple[float, float] | None
    largest: dict[str, float]
    noise: float | None
    attainment: pd.DataFrame | None

    def sentences(self, a: str = "A", b: str = "B") -> list[str]:
        """The comparison as sentences, with the names of the sides."""
        counts = [
            f"{name} has {len(members):,} of {size:,} networks on its front"
            for name, members, size in zip((a, b), self.fronts, self.sizes, strict=True)
        ]
        said = [f"{counts[0]}, {counts[1]}."]
        if self.epsilons is None:
            return [*said, "Without networks on both sides there is nothing to compare."]
        return [*said, self._of_volume(a, b), *self._of_epsilon(a, b), *self._of_noise()]

    def _of_volume(self, a: str, b: str) -> str:
        if self.ratio is None:
            return f"{b} has no hypervolume above the reference, so there is no ratio."
        text = f"The hypervolume of {a} is {self.ratio:.3f} times that of {b}"
        if self.ratio_low is not None:
            text += f" (approximate 95 % confidence interval {self.ratio_low:.3f} to {self.ratio_high:.3f})"
        return (
            f"{text}; permutation test of no difference{self._of_sizes()}: {p_words(self.p_value)}. Both "
            "treat trials as independent, which those of an adaptive search are not; several runs a side "
            "give a more reliable comparison."
        )

    def _of_sizes(self) -> str:
        if self.sizes[0] == self.sizes[1]:
            return ""
        return " between sets of these sizes (unlike the ratio, it allows for unequal numbers of trials)"

    def _of_epsilon(self, a: str, b: str) -> list[str]:
        assert self.epsilons is not None
        costs = [
            f"{Objective(n, False).label} in parts of {number(value)}" for n, value in self.largest.items()
        ]
        unit = f" ({', '.join(costs)})" if costs else ""
        said = [
            f"{left} would have to improve by {epsilon:.3f} in every objective{unit} to be at least as good "
            f"as {right} everywhere (additive epsilon indicator)."
            if epsilon > 0
            else f"{left} is at least as good as {right} everywhere"
            + (f", by {-epsilon:.3f}{unit} in every objective." if epsilon < 0 else ".")
            for left, right, epsilon in zip((a, b), (b, a), self.epsilons or (), strict=True)
        ]
        if self.epsilons[0] != self.epsilons[1]:
            said.append(
                f"Permutation test of no difference between these two figures: {p_words(self.epsilon_p)}."
            )
        return said

    def _of_noise(self) -> list[str]:
        if self.noise is None:
            return []
        return [
            f"Two accuracies must differ by more than {self.noise:.3f} to differ significantly (5 % level), "
            "given the number of images."
        ]


@dataclass(frozen=True)
class _Side:
    """Networks as points (n, k) above the reference; networks of the same unit (n,) are drawn together."""

    points: np.ndarray
    units: np.ndarray
    count: int

    def thinned(self, share: float) -> "_Side":
        """The points that may be on the front of a random part with this share of the units."""
        kept = near_front(self.points, share, int(np.bincount(self.units).max(initial=1)))
        return _Side(self.points[kept], self.units[kept], self.count)

    def volume(self, drawn: np.ndarray | None = None) -> float:
        """Hypervolume of the networks whose units are drawn (count,), as bool; of all when None."""
        return _volume(self.points if drawn is None else self.points[drawn[self.units]])


def _volume(points: np.ndarray) -> float:
    return float(moocore.hypervolume(points, ref=0.0, maximise=True)) if len(points) else 0.0


def compare(
    a: pd.DataFrame,
    b: pd.DataFrame,
    objectives: Sequence[ObjectiveLike],
    reference: Mapping[str, float] | None = None,
    images: int | None = None,
    draws: int = 1000,
    seed: int = 0,
    searched: Sequence[str] = (),
) -> Comparison:
    """Compares two sets of networks, such as those of two searches or of two methods.

    The ratio's confidence interval is by half-sampling: the variance of the logarithm of the hypervolume
    over random halves of a side's trials estimates its variance from search to search (the delete-half
    jackknife, Shao and Wu 1989). The ordinary bootstrap is not valid for a statistic that depends on
    the best few trials: its intervals would cover too seldom; tests/unit/analysis/statistics/test_compare.py
    simulates both.
    The p-value is of a permutation test, exact for independent trials: the share of divisions of all trials
    into sides of these sizes whose difference of hypervolumes is at least as far from the mean difference.
    All divisions are tried where these are at most `draws`, else the observed one and `draws` random ones.

    Args:
        a, b: one row a network; those that lack an objective are left out.
        objectives: names, see `analysis.objectives`.
        reference: objective -> value; 0 where more is better and the worst of both sides elsewhere when None.
        images: of the validation split.
        draws: of halves and of divisions, at least 2.
        seed: of the draws; the rows' order does not matter.
        searched: dotted paths of the searched values; with them all replicates of a setting are one unit.

    Raises:
        ObjectiveError: see `parse`.
    """
    asked = parse_all(objectives)
    known = [complete(side, asked) for side in (a, b)]
    zero = dict(reference) if reference is not None else _common(known, asked)
    sides = [_side(part, asked, zero, searched) for part in known]
    rng = np.random.default_rng(seed)
    fronts = (front(known[0], asked), front(known[1], asked))
    volumes = (sides[0].volume(), sides[1].volume())
    both = all(side.count for side in sides)
    ratio = volumes[0] / volumes[1] if volumes[1] > 0 else None
    interval = _interval(sides, draws, rng) if ratio else None
    largest = _largest(fronts, asked) if both else {}
    scale = np.array([largest.get(o.name, 1.0) or 1.0 for o in asked])
    reached = [values(members, asked) / scale for members in fronts]
    p_values = _p_values(sides, draws, rng, scale) if both else (None, None)
    return Comparison(
        objectives=asked,
        sizes=(len(known[0]), len(known[1])),
        fronts=fronts,
        reference=zero,
        hypervolumes=volumes,
        ratio=ratio,
        ratio_low=ratio / interval if ratio and interval else None,
        ratio_high=ratio * interval if ratio and interval else None,
        p_value=p_values[0],
        epsilon_p=p_values[1],
        epsilons=(_epsilon(*reached), _epsilon(*reached[::-1])) if both else None,
        largest=largest,
        noise=_noise(fronts, asked, images),
        attainment=attainment_difference(a, b, asked, searched) if len(asked) == 2 else None,
    )


def _common(known: Sequence[pd.DataFrame], asked: Sequence[Objective]) -> dict[str, float]:
    """The reference point of both sides together."""
    filled = [part[[o.name for o in asked]] for part in known if len(part)]
    return reference(pd.concat(filled), asked) if filled else dict.fromkeys((o.name for o in asked), 0.0)


def _side(
    part: pd.DataFrame, asked: Sequence[Objective], zero: Mapping[str, float], searched: Sequence[str]
) -> _Side:
    points = values(part, asked) - np.array([zero[o.name] * (1.0 if o.maximise else -1.0) for o in asked])
    order = np.lexsort(points.T)
    units = np.arange(len(part))
    if searched:
        units = pd.factorize(replicates(part, searched).to_numpy()[order], sort=True)[0]
    return _Side(points[order], units, int(units.max(initial=-1)) + 1)


def _interval(sides: Sequence[_Side], draws: int, rng: np.random.Generator) -> float | None:
    """The factor by which the ratio's 95 % interval goes up and down."""
    if min(side.count for side in sides) < LEAST:
        return None
    variance = 0.0
    for side in sides:
        half, thin = side.count // 2, side.thinned(0.5)
        volumes = [thin.volume(mask(side.count, rng.permutation(side.count)[:half])) for _ in range(draws)]
        logs = np.log([volume for volume in volumes if volume > 0])
        if len(logs) < max(2, draws / 2):
            return None
        variance += float(np.var(logs, ddof=1)) * half / (side.count - half)
    return math.exp(_Z * math.sqrt(variance))


def _p_values(
    sides: Sequence[_Side], draws: int, rng: np.random.Generator, scale: np.ndarray
) -> tuple[float, float]:
    """p-values of the differences of hypervolumes and of epsilons, by permuting the units between sides."""
    first, second = sides
    count = first.count + second.count
    units = np.concatenate([first.units, first.count + second.units])
    pooled = _Side(np.concatenate([first.points, second.points]), units, count)
    small, large = sorted((first.count / count, second.count / count))
    thin = pooled.thinned(small)
    # What may be on the front of a large part may be on that of a small one.
    left, right = (thin if side.count / count == small else thin.thinned(large) for side in sides)
    found = [_apart(first.points, second.points, scale)]
    for drawn in islice(divisions(count, first.count, draws, rng), 1, None):
        found.append(_apart(left.points[drawn[left.units]], right.points[~drawn[right.units]], scale))
    return p_value(np.array([v for v, _ in found])), p_value(np.array([e for _, e in found]))


def _apart(mine: np.ndarray, theirs: np.ndarray, scale: np.ndarray) -> tuple[float, float]:
    """Difference of the hypervolumes, and difference of the two epsilon indicators."""
    # Dominated points change neither; with them the epsilons would take a hundred times as long.
    a, b = (part[moocore.is_nondominated(part, maximise=True)] for part in (mine, theirs))
    return _volume(a) - _volume(b), _epsilon(a / scale, b / scale) - _epsilon(b / scale, a / scale)


def p_value(differences: np.ndarray) -> float:
    """Share of the differences that are at least as far from their mean as the first, the observed one."""
    off = np.abs(differences - np.mean(differences))
    # The observed one is counted too, which makes the test exact.
    return float(np.mean(off >= off[0] * (1 - 1e-9)))


def p_words(p: float | None) -> str:
    """`p = 0.031`; `p < 0.001` where it is smaller."""
    return f"p = {p:.3f}" if p is None or p >= 0.001 else "p < 0.001"


def _largest(fronts: Sequence[pd.DataFrame], asked: Sequence[Objective]) -> dict[str, float]:
    costs = [o.name for o in asked if not o.is_fraction]
    return {name: max(float(members[name].max()) for members in fronts) for name in costs}


def _epsilon(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Additive epsilon indicator: what maximised points (n, k) must gain to weakly dominate the others."""
    return (
        float(moocore.epsilon_additive(mine, ref=theirs, maximise=True)) if len(mine) and len(theirs) else 0.0
    )


def _noise(fronts: Sequence[pd.DataFrame], asked: Sequence[Objective], images: int | None) -> float | None:
    """95 % half-width of the difference of two accuracies, for the most uncertain one on the fronts.

    A success and a failure are added to each (Agresti and Caffo 2000), so that 0 and 1 have an error too.
    """
    names = [o.name for o in asked if o.name in metrics.of_images()]
    p = np.concatenate([members[names].to_numpy(float).ravel() for members in fronts])
    if images is None or not len(p):
        return None
    p = (p * images + 1) / (images + 2)
    return float(_Z * np.sqrt(2 * (p * (1 - p)).max() / (images + 2)))
