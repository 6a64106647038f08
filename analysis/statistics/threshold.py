"""The thresholds of the pruning methods, and the band in which good settings have them.

RVSM and RGSM use lambda_1 and beta only through their ratio t, which sets the size below which a weight, or
the norm of a channel, becomes zero (docs/method.md). Good settings lie in a narrow band of this threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rtune.config.catalog import PRUNERS
from rtune.config.catalog.part import Pruner
from rtune.config.ranges import Uniform
from rtune.config.spec import Spec

from ..front import front
from ..objectives import ObjectiveLike, parse_all, values
from ..settings import judged, numbers, once, setting, thinned
from .importance import membership

# Below this number of networks the sentence says that it rests on few.
FEW = 10


def threshold(networks: pd.DataFrame, spec: Spec) -> "pd.Series[float]":
    """The size at or below which each pruner zeroes a weight (RVSM), or a channel by its norm (RGSM).

    The formulas are those of the catalog: `rtune.config.catalog.part.Threshold`.

    Args:
        networks: one row a network.
        spec: the run's, for the settings that were not searched.

    Returns:
        At least 0, in the unit of the weights; nan for pruners without a threshold, such as ADMM.
    """
    found = pd.Series(np.nan, index=networks.index, name="threshold")
    for pruner in _with_thresholds():
        chosen = setting(networks, spec, f"pruning.{pruner.name}.penalty")
        strength, tie = (numbers(networks, spec, f"pruning.{pruner.name}.{n}") for n in ("lambda_1", "beta"))
        for penalty, one in pruner.thresholds.items():
            own = chosen == penalty
            found[own] = one.size((strength[own] / tie[own]).to_numpy())
    return found


Ends = tuple[float, float]


@dataclass(frozen=True)
class Band:
    """The thresholds of the networks of a pruning method with one of its penalties.

    Attributes:
        method, penalty: as in the search file.
        networks: how many networks were pruned so, without replicates.
        members: how many of them are on the front.
        front: smallest and largest threshold of those; None without any.
        middle: the same of their middle half; None of fewer than `FEW`.
        best: the same of the best share of the method's own networks, by Pareto rank; None without any.
        searched: the same of all that the search space allows.
        sparsity: the column that the method works on.
        correlation: Spearman's, of threshold and sparsity over `networks`, in [-1, 1]; None where one of
            them does not vary. It is weakened by networks that were stopped early, before they reached
            the sparsity that belongs to their threshold.
    """

    method: str
    penalty: str
    networks: int
    members: int
    front: Ends | None
    middle: Ends | None
    best: Ends | None
    searched: Ends
    sparsity: str
    correlation: float | None

    @property
    def formula(self) -> str:
        """The threshold's formula as text."""
        return PRUNERS[self.method].thresholds[self.penalty].formula

    @property
    def sentence(self) -> str:
        """The band in one to three sentences."""
        name, formula = PRUNERS[self.method].label, self.formula
        if self.searched[0] == self.searched[1]:
            return f"{name}: {formula} was {self.searched[0]:.2g} throughout."
        low, high = self.searched
        covered = f"the search covered {low:.2g} to {high:.2g}, {apart(self.searched)}"
        where = f"{name}: {self._where(formula)}; {covered}."
        return " ".join(filter(None, [where, self._sparsity(), self._few()]))

    def _where(self, formula: str) -> str:
        if self.front is not None:
            have = "the one front member has" if self.members == 1 else f"{self.members} front members have"
            half = "" if self.middle is None else f", half of them {_between(self.middle)}"
            return f"{have} {formula} {_between(self.front)}{half}"
        if self.best is not None:
            best = f"{formula} {_between(self.best)}"
            if self.networks == 1:
                return f"its one network is not on the front, and has {best}"
            return f"none of its {self.networks:,} networks is on the front; the best have {best}"
        return f"no network yet to relate {formula} to"

    def _sparsity(self) -> str:
        if self.correlation is None:
            return ""
        name = self.sparsity.replace("_", " ").capitalize()
        return f"{name} and threshold have the rank correlation {self.correlation:.2f}."

    def _few(self) -> str:
        if self.networks >= FEW:
            return ""
        counted = "1 network" if self.networks == 1 else f"{self.networks} networks"
        return f"This is only a hint, from {counted}."


def band(
    networks: pd.DataFrame, spec: Spec, objectives: Sequence[ObjectiveLike], best: float = 0.1
) -> list[Band]:
    """The thresholds for each method and penalty in use, in the order of the catalog.

    The front is that of all networks together, whatever pruned them; the best share is taken of each
    method's own networks (`analysis.settings.judged`, at most 5,000 of them).

    Args:
        networks: one row a network. Replicates are left out.
        spec: the run's.
        objectives: names, with `:min` or `:max` where the default is not meant.
        best: the best share, in (0, 1); see `analysis.statistics.importance.membership`.
    """
    asked = parse_all(objectives)
    networks = once(networks).reset_index(drop=True)
    size = threshold(networks, spec)
    on_front = networks.index.isin(front(networks, asked).index)
    return [
        _band(pruner, penalty, networks[own], size[own], on_front[own], spec, asked, best)
        for pruner in _with_thresholds()
        for penalty in pruner.thresholds
        if (own := setting(networks, spec, f"pruning.{pruner.name}.penalty") == penalty).any()
    ]


def _with_thresholds() -> list[Pruner]:
    return [pruner for pruner in PRUNERS if pruner.thresholds]


def _band(
    pruner: Pruner,
    penalty: str,
    own: pd.DataFrame,
    size: "pd.Series[float]",
    on_front: np.ndarray,
    spec: Spec,
    asked: Sequence[ObjectiveLike],
    best: float,
) -> Band:
    ratios = np.array(_ratios(own, spec, pruner.name))
    tried = pruner.thresholds[penalty].size(ratios)
    members = size[on_front]
    complete = thinned(judged(own).dropna(subset=[o.name for o in parse_all(asked)]))
    among_best = complete.index[membership(values(complete, asked), best) > 0]
    return Band(
        method=pruner.name,
        penalty=penalty,
        networks=len(own),
        members=len(members),
        front=_ends(members),
        middle=_ends(members.quantile([0.25, 0.75])) if len(members) >= FEW else None,
        best=_ends(size[among_best]),
        searched=(float(tried[0]), float(tried[1])),
        sparsity=pruner.sparsity,
        correlation=spearman(size, own[pruner.sparsity]),
    )


def _ratios(own: pd.DataFrame, spec: Spec, method: str) -> Ends:
    """Smallest and largest lambda_1 / beta of the ranges and of the networks: a point may lie outside."""
    ends = []
    for name in ("lambda_1", "beta"):
        path = f"pruning.{method}.{name}"
        tried = numbers(own, spec, path).dropna().tolist()
        domain = spec.ranges.get(path)
        if isinstance(domain, Uniform):
            tried += [domain.low, domain.high]
        elif domain is not None:
            tried += domain.values
        ends.append((min(tried), max(tried)))
    (low, high), (loosest, tightest) = ends
    return low / tightest, high / loosest


def spearman(one: "pd.Series[float]", other: "pd.Series[float]") -> float | None:
    """Spearman's rank correlation in [-1, 1] of two columns of the same rows; ties have their mean rank.

    Rows that lack one are left out; None where a column does not vary in the rest.
    """
    both = pd.DataFrame({"one": one.astype(float), "other": other.astype(float)}).dropna().rank()
    if len(both) < 2 or (both.nunique() < 2).any():
        return None
    return float(np.corrcoef(both["one"], both["other"])[0, 1])


def apart(ends: Ends) -> str:
    """The ratio of two sizes as text: `a factor of 1.25`; `down to zero` where the smaller is 0."""
    if ends[0] <= 0:
        return "down to zero"
    factor = ends[1] / ends[0]
    return f"a factor of {factor:.3g}" if factor < 10 else f"a factor of {factor:,.0f}"


def _between(ends: Ends) -> str:
    low, high = f"{ends[0]:.2g}", f"{ends[1]:.2g}"
    return f"at {low}" if low == high else f"between {low} and {high}, {apart(ends)}"


def _ends(sizes: "pd.Series[float]") -> Ends | None:
    return None if sizes.empty else (float(sizes.min()), float(sizes.max()))
