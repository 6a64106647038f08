"""Asynchronous successive halving for several objectives: rungs compare trials by Pareto rank.

ASHA (Li et al., arXiv 1810.05934) in its promoting form, for which one number a trial is not needed:
a rung orders its trials by non-domination rank and, within a rank, by hypervolume contribution. Nobody is
stopped for good: a trial that is not among the best of its rung waits there, and goes on when it has
come to be. Knows neither Ray nor files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rtune.search.fronts import Fronts

Point = Sequence[float]


@dataclass(frozen=True)
class Verdict:
    """A rung's word on a trial.

    Attributes:
        keep: whether the trial goes on at once.
        rung: the rung's epoch; None if there was nothing to decide.
        position: place in the rung's order, 1 for the best.
        size: trials recorded at the rung, this one included.
    """

    keep: bool
    rung: int | None = None
    position: int | None = None
    size: int | None = None


@dataclass
class _Rung:
    level: int
    fronts: Fronts = field(default_factory=Fronts)
    recorded: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)  # those that `fronts` holds

    def quota(self, eta: int) -> int:
        """How many of its trials may go on; diverged ones count among the others."""
        return max(1, len(self.recorded) // eta)

    def next(self, eta: int) -> str | None:
        """The best of those that wait, if it is among the best of all."""
        return self.fronts.first_held(self.quota(eta)) if self.waiting else None

    def hold(self, trial: str) -> None:
        self.waiting.add(trial)
        self.fronts.hold(trial, True)

    def release(self, trial: str) -> None:
        self.waiting.discard(trial)
        self.fronts.hold(trial, False)


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
        position = rung.fronts.position(trial)
        keep = position <= rung.quota(self.eta)
        if not keep:
            rung.hold(trial)
        return Verdict(keep, rung.level, position, len(rung.recorded))

    def diverged(self, trial: str, epoch: int) -> None:
        """Counts a trial that broke in `epoch` as the last at the rung it was on its way to."""
        rung = next((r for r in self._rungs(trial) if r.level >= epoch), None)
        if rung is not None:
            rung.recorded.add(trial)

    def promotable(self) -> str | None:
        """A waiting trial that may go on by now, the farthest first; it waits until `promote`."""
        rungs = sorted((r for bracket in self.brackets for r in bracket), key=lambda r: -r.level)
        return next((name for rung in rungs if (name := rung.next(self.eta)) is not None), None)

    def promote(self, trial: str) -> Verdict:
        """Lets a waiting trial go on; one that does not wait goes on as it is."""
        rung = next((r for r in self._rungs(trial) if trial in r.waiting), None)
        if rung is None:
            return Verdict(keep=True)
        rung.release(trial)
        return Verdict(True, rung.level, rung.fronts.position(trial), len(rung.recorded))

    def _rungs(self, trial: str) -> list[_Rung]:
        """Those of the trial's bracket; with several, ids are t0001, t0002, ..."""
        many = len(self.brackets)
        return self.brackets[(int(trial[1:]) - 1) % many if many > 1 else 0]
