"""Two sets of networks side by side: hypervolume, epsilon indicator, attainment."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import moocore
import numpy as np
import pandas as pd

from analysis.dominance import near_front
from analysis.front import front, reference
from analysis.kinds import Difference, at_equal, by_kind
from analysis.objectives import Asked, Objective, parse_all, values
from analysis.seeds import replicate_sets, replicates
from rtune import schema

__all__ = ["Comparison", "Difference", "at_equal", "attainment_difference", "by_kind", "compare"]

# Below that many trials a side there are no halves to speak of.
LEAST = 3
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Comparison:
    """What two sets of networks, A and B, have of each other. Pairs are in this order.

    Attributes:
        objectives: by which they are compared.
        sizes: networks that have every objective.
        fronts: of each alone.
        reference: objective -> where hypervolume is measured from, the same for both.
        hypervolumes: in the product of the objectives' units.
        ratio: A's over B's; None where B has none.
        ratio_low, ratio_high: its 95 % interval; None below `LEAST` trials a side.
        p_value: of the hypervolumes' difference, two-sided, in [0, 1]; None without networks on a side.
        epsilons: what A must gain in every objective to reach all of B, and B to reach all of A (the
            additive epsilon indicator): fractions, of costs fractions of `largest`; at most 0 where nothing
            is lacking. None without networks on a side.
        largest: cost among the objectives -> the largest value on either front.
        noise: a difference of two accuracies up to this is within the 95 % noise of the images; None unasked.
        attainment: see `attainment_difference`; None unless there are two objectives.
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
    epsilons: tuple[float, float] | None
    largest: dict[str, float]
    noise: float | None
    attainment: pd.DataFrame | None

    def sentences(self, a: str = "A", b: str = "B") -> list[str]:
        """The comparison in words, for readers, with the sides' names."""
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
            text += f" (95 % interval {self.ratio_low:.3f} to {self.ratio_high:.3f})"
        p = f"p = {self.p_value:.3f}" if self.p_value is None or self.p_value >= 0.001 else "p < 0.001"
        return (
            f"{text}; {p} for such a difference between sets of one kind{self._of_sizes()}. Trials are taken "
            "to be independent, which those of an adaptive search are not: several runs a side say more."
        )

    def _of_sizes(self) -> str:
        if self.sizes[0] == self.sizes[1]:
            return ""
        return " and these sizes (the ratio does not allow for one side having more trials, p does)"

    def _of_epsilon(self, a: str, b: str) -> list[str]:
        assert self.epsilons is not None
        costs = [f"{Objective(n, False).label} in parts of {value:,.0f}" for n, value in self.largest.items()]
        unit = f" ({', '.join(costs)})" if costs else ""
        return [
            f"{left} would have to gain {epsilon:.3f} in every objective{unit} to reach all that {right} "
            "reaches."
            if epsilon > 0
            else f"{left} reaches all that {right} reaches"
            + (f", with {-epsilon:.3f}{unit} to spare in every objective." if epsilon < 0 else ".")
            for left, right, epsilon in zip((a, b), (b, a), self.epsilons or (), strict=True)
        ]

    def _of_noise(self) -> list[str]:
        if self.noise is None:
            return []
        return [f"Two accuracies that differ by less than {self.noise:.3f} are within the images' noise."]


@dataclass(frozen=True)
class _Side:
    """Networks as points (n, k) above the reference, and the unit (n,) that each is drawn with."""

    points: np.ndarray
    units: np.ndarray
    count: int

    def thinned(self, share: float) -> "_Side":
        """What may be on the front of a part that has so large a share of the units."""
        kept = near_front(self.points, share, int(np.bincount(self.units).max(initial=1)))
        return _Side(self.points[kept], self.units[kept], self.count)

    def volume(self, drawn: np.ndarray | None = None) -> float:
        """Hypervolume of the networks of the units (count,) drawn; of all when None."""
        points = self.points if drawn is None else self.points[drawn[self.units]]
        return float(moocore.hypervolume(points, ref=0.0, maximise=True)) if len(points) else 0.0


def compare(
    a: pd.DataFrame,
    b: pd.DataFrame,
    objectives: Sequence[Asked],
    reference: Mapping[str, float] | None = None,
    images: int | None = None,
    draws: int = 1000,
    seed: int = 0,
    searched: Sequence[str] = (),
) -> Comparison:
    """Compares what two searches, methods or kinds of networks found, as it is.

    The ratio's interval is for searches of these sizes, and by half-sampling: the spread of the hypervolume
    over halves of a side's trials is what it has from search to search (the delete-half jackknife of
    Shao and Wu 1989, on the logarithm). The ordinary bootstrap fails for what depends on the best few, and
    its intervals would hold less often than they say (tests/test_compare.py simulates these).
    The p-value is the share of random divisions of all trials into sides of these sizes whose hypervolumes
    differ as much from the mean difference (a permutation test, exact for independent trials).

    Args:
        a, b: one row a network; those that lack an objective are left out.
        objectives: names, see `analysis.objectives`.
        reference: objective -> value; 0 where more is better and the worst of both sides elsewhere when None.
        images: of the validation split.
        draws: of either kind, at least 2.
        seed: of the draws; the rows' order does not matter.
        searched: dotted paths; with them all replicates of a setting are drawn together.

    Raises:
        ObjectiveError: see `parse`.
    """
    asked = parse_all(objectives)
    names = [o.name for o in asked]
    known = [side.dropna(subset=names) for side in (a, b)]
    zero = dict(reference) if reference is not None else _common(known, asked)
    sides = [_side(part, asked, zero, searched) for part in known]
    rng = np.random.default_rng(seed)
    fronts = (front(known[0], asked), front(known[1], asked))
    volumes = (sides[0].volume(), sides[1].volume())
    both = all(side.count for side in sides)
    ratio = volumes[0] / volumes[1] if volumes[1] > 0 else None
    interval = _interval(sides, draws, rng) if ratio else None
    largest = _largest(fronts, asked) if both else {}
    return Comparison(
        objectives=asked,
        sizes=(len(known[0]), len(known[1])),
        fronts=fronts,
        reference=zero,
        hypervolumes=volumes,
        ratio=ratio,
        ratio_low=ratio / interval if ratio and interval else None,
        ratio_high=ratio * interval if ratio and interval else None,
        p_value=_p_value(sides, draws, rng) if both else None,
        epsilons=(_epsilon(*fronts, asked, largest), _epsilon(*fronts[::-1], asked, largest))
        if both
        else None,
        largest=largest,
        noise=_noise(fronts, asked, images),
        attainment=attainment_difference(a, b, asked, searched) if len(asked) == 2 else None,
    )


def _common(known: Sequence[pd.DataFrame], asked: Sequence[Objective]) -> dict[str, float]:
    """A reference for both sides."""
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
        volumes = [thin.volume(_some(rng, side.count, half)) for _ in range(draws)]
        logs = np.log([volume for volume in volumes if volume > 0])
        if len(logs) < max(2, draws / 2):
            return None
        variance += float(np.var(logs, ddof=1)) * half / (side.count - half)
    return math.exp(_Z * math.sqrt(variance))


def _some(rng: np.random.Generator, count: int, wanted: int) -> np.ndarray:
    """Which (count,) are among `wanted` chosen at random."""
    drawn = np.zeros(count, bool)
    drawn[rng.permutation(count)[:wanted]] = True
    return drawn


def _p_value(sides: Sequence[_Side], draws: int, rng: np.random.Generator) -> float:
    """Of the difference of the hypervolumes, by permuting whose units are whose."""
    first, second = sides
    count = first.count + second.count
    units = np.concatenate([first.units, first.count + second.units])
    pooled = _Side(np.concatenate([first.points, second.points]), units, count)
    left, right = (pooled.thinned(side.count / count) for side in sides)
    differences = [first.volume() - second.volume()]
    for _ in range(draws):
        drawn = _some(rng, count, first.count)
        differences.append(left.volume(drawn) - right.volume(~drawn))
    off = np.abs(np.array(differences) - np.mean(differences))
    # The observed one counts among them, which keeps the test exact.
    return float(np.mean(off >= off[0] * (1 - 1e-9)))


def _largest(fronts: Sequence[pd.DataFrame], asked: Sequence[Objective]) -> dict[str, float]:
    costs = [o.name for o in asked if not o.is_fraction]
    return {name: max(float(members[name].max()) for members in fronts) for name in costs}


def _epsilon(
    mine: pd.DataFrame, theirs: pd.DataFrame, asked: Sequence[Objective], largest: Mapping[str, float]
) -> float:
    scale = np.array([largest.get(o.name, 1.0) or 1.0 for o in asked])
    points = [values(members, asked) / scale for members in (mine, theirs)]
    return float(moocore.epsilon_additive(points[0], ref=points[1], maximise=True))


def _noise(fronts: Sequence[pd.DataFrame], asked: Sequence[Objective], images: int | None) -> float | None:
    """95 % half-width of the difference of two accuracies, of the fronts' least sure one."""
    names = [o.name for o in asked if o.name in schema.ACCURACIES]
    p = np.concatenate([members[names].to_numpy(float).ravel() for members in fronts])
    if images is None or not len(p):
        return None
    return float(_Z * np.sqrt(2 * (p * (1 - p)).max() / images))


def attainment_difference(
    a: pd.DataFrame, b: pd.DataFrame, objectives: Sequence[Asked], searched: Sequence[str] = ()
) -> pd.DataFrame | None:
    """Where in the plane of two objectives A is attained more often than B, from set to set.

    Sets are the runs where a side has several (a column `run`), else those of
    `analysis.seeds.replicate_sets`. If one side has more sets its last ones are left out: moocore counts
    sets, and rounds where the counts differ (Lopez-Ibanez, Paquete and Stuetzle 2010).

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
    sides = [_sets(side, asked, searched) for side in (a, b)]
    count = min(len(sets) for sets in sides)
    if count < 2:
        return None
    tables = [
        np.concatenate([np.insert(points, 2, j, axis=1) for j, points in enumerate(sets[:count])])
        for sets in sides
    ]
    try:
        found = moocore.eafdiff(*tables, maximise=True, rectangles=True)
    except ValueError:  # what moocore 0.3 makes of sets that are all of one point
        found = np.zeros((0, 5))
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
    return pd.DataFrame(columns | {"difference": found[:, 4] / count})


def _sets(side: pd.DataFrame, asked: Sequence[Objective], searched: Sequence[str]) -> list[np.ndarray]:
    if "run" in side and side["run"].nunique() > 1:
        known = side.dropna(subset=[o.name for o in asked])
        return [values(part, asked) for _, part in known.groupby("run", sort=True)]
    return replicate_sets(side, asked, searched) if searched else []
