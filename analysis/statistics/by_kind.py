"""Kinds of networks compared at equal sparsity, accuracy or cost, by the best of each."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # type: ignore[import-untyped]

from ..labels import label_words
from ..objectives import Objective, ObjectiveLike, complete, parse
from .dominance import near_front

Verdict = Literal["above", "below", "undecided"]

# From halves of fewer networks a side, confidence intervals would cover far too seldom.
LEAST = 6
_TINY = 1e-9  # below any cost, in its unit
_TOO_LITTLE = "no comparison is possible: single networks decide which range both kinds cover"


@dataclass(frozen=True)
class Difference:
    """Difference between two kinds of networks in y at equal x.

    Attributes:
        left, right: the kinds.
        x, y: what is equal, and what is compared.
        trials: number of networks of each.
        range: the part of x that both kinds cover, least first, in its own unit; None where there is none.
        mean: best y of `left` minus best y of `right`, averaged over x, in y's unit; None if unknown.
        low, high: its 95 % confidence interval, approximately.
        verdict: where the interval lies; `undecided` if 0 is in it.
        sentence: all of it for readers; the reason where there is no estimate.
    """

    left: str
    right: str
    x: Objective
    y: Objective
    trials: tuple[int, int]
    range: tuple[float, float] | None
    mean: float | None
    low: float | None
    high: float | None
    verdict: Verdict | None
    sentence: str


@dataclass(frozen=True)
class _Curve:
    """Networks sorted by x, best first.

    Attributes:
        x, y: (n,), maximised; costs on a logarithmic scale, for networks differ in them by factors.
        count: number of trials that they were selected from.
    """

    x: np.ndarray
    y: np.ndarray
    count: int

    def thinned(self, share: float) -> "_Curve":
        """The networks that may be the best somewhere in a random part with this share of the trials."""
        kept = near_front(np.stack([self.x, self.y], axis=1), share)
        return _Curve(self.x[kept], self.y[kept], self.count)

    def part(self, rng: np.random.Generator, wanted: int) -> "_Curve":
        """`wanted` of the trials, at random."""
        hits = rng.hypergeometric(len(self.x), self.count - len(self.x), wanted)
        chosen = np.sort(rng.choice(len(self.x), hits, replace=False, shuffle=False))
        return _Curve(self.x[chosen], self.y[chosen], wanted)

    def attained(self, low: float, high: float) -> float:
        """The mean over x from low to high of the best y among the networks with as much x."""
        best = np.maximum.accumulate(self.y)
        if high <= low:
            return float(best[np.count_nonzero(self.x >= low) - 1])
        # The best y is constant from each network's x down to the next one's.
        below = np.append(self.x[1:], -np.inf)
        width = np.minimum(self.x, high) - np.maximum(below, low)
        return float(best @ width.clip(0)) / (high - low)


def by_kind(
    networks: pd.DataFrame,
    kinds: "pd.Series[str]",
    x: ObjectiveLike,
    y: ObjectiveLike,
    draws: int = 1000,
    seed: int = 0,
) -> list[Difference]:
    """`at_equal` for each two kinds, in alphabetical order.

    Each confidence interval is for its own comparison; there is no correction for several.

    Args:
        networks: one row a network.
        kinds: of each network, such as the column `model.network`; a network without one is left out.
        x, y: see `at_equal`.
        draws: number of random halves.
        seed: of the draws.

    Raises:
        ObjectiveError: see `parse`.
    """
    parts = {str(kind): part for kind, part in networks.groupby(kinds.astype(object), sort=True)}
    return [
        at_equal(parts[left], parts[right], x, y, (left, right), draws, seed)
        for left, right in itertools.combinations(sorted(parts), 2)
    ]


def at_equal(
    left: pd.DataFrame,
    right: pd.DataFrame,
    x: ObjectiveLike,
    y: ObjectiveLike,
    names: tuple[str, str],
    draws: int = 1000,
    seed: int = 0,
) -> Difference:
    """Difference between the best networks of two kinds at equal x.

    What a kind attains at x is the best y among its networks with at least this sparsity or accuracy, or
    at most this cost. The difference is averaged over the x that both kinds cover, costs on a logarithmic
    scale. The best of more trials is better. So random samples of the larger kind are taken, each of as
    many trials as the smaller kind has, and the mean over the samples is reported: without that, two equal
    kinds of 100 and 25 trials would differ significantly four times in ten. The confidence interval is by
    halves of the trials (see `analysis.statistics.compare.compare`), each sampled twice in the same way: the
    covariance of the two is the variance of the mean over samples. It is approximate: for independent trials
    it covers in about 83 to 100 % of cases, less where accuracies have a long upper tail and more where they
    end at a bound (`python -m benchmarks.calibration`).

    Args:
        left, right: one row a network; those that lack x or y are left out.
        x, y: names, with `:min` or `:max` where the default is not meant.
        names: of the kinds, as in a search file.
        draws: number of random halves, at least 2.
        seed: of the draws; the rows' order does not matter.

    Raises:
        ObjectiveError: see `parse`.
    """
    given, wanted = parse(x), parse(y)
    curves = (_curve(left, given, wanted), _curve(right, given, wanted))
    shown = (label_words(names[0]), label_words(names[1]))
    facts = (*names, given, wanted, (curves[0].count, curves[1].count))
    reason = _reason(curves, shown, given)
    if reason:
        return Difference(*facts, None, None, None, None, None, f"At equal {given.label} {reason}.")
    low, high = max(c.x.min() for c in curves), min(c.x.max() for c in curves)
    rng, few = np.random.default_rng(seed), min(c.count for c in curves)
    gaps = _gaps(curves, few, low, high, draws if max(c.count for c in curves) > few else 1, rng)
    pairs = _halves(curves, few // 2, low, high, draws, rng)
    if not len(gaps) or len(pairs) < 2:
        return Difference(*facts, None, None, None, None, None, f"At equal {given.label} {_TOO_LITTLE}.")
    mean = float(gaps.mean()) * (1.0 if wanted.maximise else -1.0)
    # Two samples of the same halves share only what the halves, not the sampling from them, make vary.
    variance = max(0.0, float(np.cov(pairs.T)[0, 1]))
    # The factor for an odd count, which cannot be halved, is that of Shao and Wu (1989).
    quantile = _quantile(*(c.count for c in curves))
    half = quantile * math.sqrt(variance * (few // 2) / (few - few // 2))
    verdict: Verdict = "above" if mean - half > 0 else "below" if mean + half < 0 else "undecided"
    ends = sorted((_own(low, given), _own(high, given)))
    found = Difference(*facts, (ends[0], ends[1]), mean, mean - half, mean + half, verdict, "")
    return replace(found, sentence=_sentence(found, shown))


def _quantile(one: int, other: int) -> float:
    """Student's quantile of a 95 % interval; Welch's degrees of freedom, for alike sides of these sizes."""
    spread = (1 / one, 1 / other)
    freedom = sum(spread) ** 2 / (spread[0] ** 2 / (one - 1) + spread[1] ** 2 / (other - 1))
    return float(stdtrit(freedom, 0.975))


def _curve(part: pd.DataFrame, x: Objective, y: Objective) -> _Curve:
    known = complete(part, [x, y] if x.name != y.name else [x])
    points = [known[o.name].to_numpy(float) * (1.0 if o.maximise else -1.0) for o in (x, y)]
    if not x.is_fraction:
        points[0] = np.log(np.abs(points[0]).clip(_TINY)) * (1.0 if x.maximise else -1.0)
    order = np.lexsort((-points[1], -points[0]))
    return _Curve(points[0][order], points[1][order], len(known))


def _own(x: float, objective: Objective) -> float:
    """The inverse of what `_curve` does to x: back to its own unit."""
    value = x if objective.maximise else -x
    return value if objective.is_fraction else math.exp(value)


def _gaps(
    curves: Sequence[_Curve], wanted: int, low: float, high: float, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Left minus right (draws,), maximised, for random samples of `wanted` trials of each.

    A sample that covers nothing is left out.
    """
    thin = [curve.thinned(wanted / curve.count) for curve in curves]
    found = (_gap([curve.part(rng, wanted) for curve in thin], low, high) for _ in range(draws))
    return np.array([gap for gap in found if gap is not None])


def _halves(
    curves: Sequence[_Curve], wanted: int, low: float, high: float, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """The same (draws, 2) for two samples of each random half of both kinds' trials.

    Of the kind with the fewer trials a sample is the half itself.
    """
    thin = [curve.thinned(wanted / curve.count) for curve in curves]
    found = []
    for _ in range(draws):
        halves = [curve.part(rng, curve.count // 2) for curve in thin]
        two = [_gap([half.part(rng, wanted) for half in halves], low, high) for _ in range(2)]
        if None not in two:
            found.append(two)
    return np.array(found, float)


def _gap(sampled: Sequence[_Curve], low: float, high: float) -> float | None:
    """Left minus right as far as both have a network; None if that is nowhere."""
    left, right = sampled
    if not len(left.x) or not len(right.x):
        return None
    end = min(high, left.x[0], right.x[0])
    return left.attained(low, end) - right.attained(low, end) if end >= low else None


def _reason(curves: Sequence[_Curve], shown: Sequence[str], x: Objective) -> str | None:
    """Why two kinds cannot be compared."""
    both = list(zip(shown, curves, strict=True))
    few = [f"{curve.count} of {name}" for name, curve in both if curve.count < LEAST]
    if few:
        there = "there is" if few[0].startswith("1 ") else "there are"
        return f"no comparison is possible: {there} {' and '.join(few)}, and {LEAST} networks are needed"
    if max(c.x.min() for c in curves) <= min(c.x.max() for c in curves):
        return None
    spans = [f"{name} has {_span(_own(c.x.min(), x), _own(c.x.max(), x), x)}" for name, c in both]
    return f"no comparison is possible: {' and '.join(spans)}, which do not overlap"


def _sentence(found: Difference, shown: tuple[str, str]) -> str:
    assert found.range is not None
    assert found.mean is not None
    assert found.low is not None
    assert found.high is not None
    y = found.y
    figures = [_number(value, y) for value in (found.mean, found.low, found.high)]
    trials = f"{found.trials[0]:,} and {found.trials[1]:,} trials"
    if found.trials[0] != found.trials[1]:
        trials += f", compared as {min(found.trials):,} each"
    known = f"(approximate 95 % confidence interval {figures[1]} to {figures[2]}, {trials})"
    where = f"At equal {found.x.label} ({_span(*found.range, found.x)})"
    if found.verdict == "undecided":
        first = f"{shown[0]} and {shown[1]} do not differ significantly in {y.label}"
        return f"{where}, {first}: the first minus the second is {figures[0]} {known}."
    gap = _number(abs(found.mean), y)
    return f"{where}, {shown[0]} is {gap} {found.verdict} {shown[1]} in {y.label} {known}."


def _number(value: float, objective: Objective) -> str:
    # + 0.0: no negative zero.
    return f"{round(value, 3) + 0.0:.3f}" if objective.is_fraction else f"{round(value) + 0.0:,.0f}"


def _span(one: float, other: float, objective: Objective) -> str:
    low, high = sorted((one, other))
    return f"{low:.2f} to {high:.2f}" if objective.is_fraction else f"{low:,.0f} to {high:,.0f}"
