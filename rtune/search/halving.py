"""Asynchronous successive halving for several objectives: rungs compare trials by Pareto rank.

ASHA (Li et al., arXiv 1810.05934) in its promoting form, for which one number a trial is not needed:
a rung orders its trials by non-domination rank and, within a rank, by hypervolume contribution. Nobody is
stopped for good: a trial that is not among the best of its rung waits there, and goes on when it has
come to be. Knows neither Ray nor files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rtune.config.rungs import bracket, quota
from rtune.pareto.fronts import Fronts

Point = Sequence[float]


@dataclass(frozen=True)
class Verdict:
    """A rung's word on a trial.

    Attributes:
        keep: whether the trial goes on at once.
        rung: the rung's epoch; None if there was nothing to decide.
        position: place in the rung's order, 1 for the best.
        size: trials recorded at the rung, this one included.
        quota: places from which a trial may go on.
    """

    keep: bool
    rung: int | None = None
    position: int | None = None
    size: int | None = None
    quota: int | None = None


@dataclass
class _Rung:
    """Its fronts hold who waits; diverged trials are recorded too, in no front."""

    level: int
    fronts: Fronts = field(default_factory=Fronts)
    recorded: set[str] = field(default_factory=set)


class ParetoHalving:
    """Decides at each rung who goes on: of n trials recorded there, the best n / eta, at least one.

    Args:
        levels: epochs of the rungs, ascending.
        eta: reduction factor, at least 2.
        brackets: trials take turns: the first of `brackets` starts with the first rung, the second
            with the second, and so on; each bracket compares its own trials only.
    """

    def __init__(self, levels: Sequence[int], eta: int, brackets: int = 1) -> None:
        self.eta = eta
        self.brackets = [[_Rung(level) for level in levels[start:]] for start in range(brackets)]

    def report(self, trial: str, epoch: int, point: Point) -> Verdict:
        """Records a trial's objectives (maximised) after an epoch and decides.

        A trial that reports sparsely is recorded at the highest rung it has passed, never at a
        lower one with later figures.
        """
        rung = next((r for r in reversed(self._rungs(trial)) if r.level <= epoch), None)
        if rung is None or trial in rung.recorded:
            return Verdict(keep=True)
        rung.recorded.add(trial)
        rung.fronts.add(trial, np.array(point, float))
        position, allowed = rung.fronts.position(trial), quota(len(rung.recorded), self.eta)
        keep = position <= allowed
        rung.fronts.hold(trial, not keep)
        return Verdict(keep, rung.level, position, len(rung.recorded), allowed)

    def diverged(self, trial: str, epoch: int) -> None:
        """Counts a trial that broke in `epoch` as the last at the rung it was on its way to."""
        rung = next((r for r in self._rungs(trial) if r.level >= epoch), None)
        if rung is not None:
            rung.recorded.add(trial)

    def wait(self, trial: str) -> None:
        """Has a trial wait at the last rung it has reached, whatever was decided there."""
        rung = next((r for r in reversed(self._rungs(trial)) if trial in r.recorded), None)
        if rung is not None:
            rung.fronts.hold(trial, True)

    def promotable(self, leniency: float = 1.0) -> str | None:
        """A waiting trial among the best `leniency` * n / eta, the farthest first; None if there is none.

        It waits until `promote`.
        """
        farthest = sorted((r for rungs in self.brackets for r in rungs), key=lambda r: -r.level)
        firsts = (r.fronts.first_held(quota(len(r.recorded), self.eta, leniency)) for r in farthest)
        return next((name for name in firsts if name is not None), None)

    def promote(self, trial: str, leniency: float = 1.0) -> Verdict:
        """Lets a waiting trial go on; one that does not wait goes on as it is.

        The verdict's quota is that of `leniency`.
        """
        rung = next((r for r in self._rungs(trial) if r.fronts.holds(trial)), None)
        if rung is None:
            return Verdict(keep=True)
        rung.fronts.hold(trial, False)
        size = len(rung.recorded)
        return Verdict(True, rung.level, rung.fronts.position(trial), size, quota(size, self.eta, leniency))

    def _rungs(self, trial: str) -> list[_Rung]:
        """Those of the trial's bracket; with several, ids are t0001, t0002, ..."""
        return self.brackets[bracket(trial, len(self.brackets))]
