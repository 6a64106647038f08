"""Asynchronous successive halving for several objectives: rungs compare trials by Pareto rank.

The promotion variant of ASHA (Li et al., arXiv 1810.05934). Instead of by one number, a rung orders its
trials by non-dominated rank and, within a rank, by hypervolume contribution. Trials with equal objectives
have equal contributions; among equals the first to arrive comes first. No stop is final: a trial that is not
among the best of its rung waits there, and is promoted once it is among them. Uses neither Ray nor files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rtune.config.rungs import bracket, quota
from rtune.pareto.fronts import Fronts

Point = Sequence[float]


@dataclass(frozen=True)
class Verdict:
    """The decision on a trial at a rung. All fields but `keep` are None if there was nothing to decide.

    Attributes:
        keep: whether the trial continues at once.
        rung: the rung's epoch.
        position: place in the rung's order, 1 for the best.
        size: number of trials recorded at the rung, this one included.
        quota: number of places, from the best, whose trials may continue.
    """

    keep: bool
    rung: int | None = None
    position: int | None = None
    size: int | None = None
    quota: int | None = None


@dataclass
class _Rung:
    """A rung of a bracket. Diverged trials are in `recorded`, which counts for the quota, but in no front."""

    level: int
    fronts: Fronts = field(default_factory=Fronts)
    recorded: set[str] = field(default_factory=set)


class ParetoHalving:
    """Decides at each rung which trials continue: of n trials recorded there, the best n / eta, at least one.

    Args:
        levels: epochs of the rungs, ascending.
        eta: reduction factor, at least 2.
        brackets: number of brackets. Trials are assigned to them in turn. The first bracket starts with the
            first rung, the second with the second, and so on; trials are compared within their bracket only.
    """

    def __init__(self, levels: Sequence[int], eta: int, brackets: int = 1) -> None:
        self.eta = eta
        self.brackets = [[_Rung(level) for level in levels[start:]] for start in range(brackets)]

    def report(self, trial: str, epoch: int, point: Point) -> Verdict:
        """Records a trial's objectives after an epoch and decides whether it continues.

        A trial that skips epochs is recorded at the highest rung that it has passed, never at a lower one
        with the values of a later epoch.

        Args:
            trial: id, such as `t0007`.
            epoch: epochs trained, from 1.
            point: (objectives,), signed so that larger is better.

        Raises:
            ValueError: a value is not finite: such a trial has `diverged`. Nothing is changed.
        """
        rung = next((r for r in reversed(self._rungs(trial)) if r.level <= epoch), None)
        if rung is None or trial in rung.recorded:
            return Verdict(keep=True)
        rung.fronts.add(trial, np.array(point, float))
        rung.recorded.add(trial)
        position, allowed = rung.fronts.position(trial), quota(len(rung.recorded), self.eta)
        keep = position <= allowed
        rung.fronts.set_waiting(trial, not keep)
        return Verdict(keep, rung.level, position, len(rung.recorded), allowed)

    def diverged(self, trial: str, epoch: int) -> None:
        """Counts a trial that diverged in `epoch` as the last of the next rung that it would have reached."""
        rung = next((r for r in self._rungs(trial) if r.level >= epoch), None)
        if rung is not None:
            rung.recorded.add(trial)

    def wait(self, trial: str) -> None:
        """Makes a trial wait at the last rung that it has reached, whatever was decided there."""
        rung = next((r for r in reversed(self._rungs(trial)) if trial in r.recorded), None)
        if rung is not None:
            rung.fronts.set_waiting(trial, True)

    def promotable(self, leniency: float = 1.0) -> str | None:
        """The waiting trial to promote next; None if there is none.

        It is the best waiting trial of the highest rung that has one among its best `leniency` * n / eta
        trials. Nothing changes until `promote` is called.

        Args:
            leniency: factor on the quota, at least 1 (`rtune.config.rungs.leniency`).
        """
        highest_first = sorted((r for rungs in self.brackets for r in rungs), key=lambda r: -r.level)
        firsts = (r.fronts.first_waiting(quota(len(r.recorded), self.eta, leniency)) for r in highest_first)
        return next((name for name in firsts if name is not None), None)

    def promote(self, trial: str, leniency: float = 1.0) -> Verdict:
        """Promotes a waiting trial; a trial that does not wait is left as it is.

        Args:
            trial: id.
            leniency: as in `promotable`; the verdict's quota includes it.
        """
        rung = next((r for r in self._rungs(trial) if r.fronts.is_waiting(trial)), None)
        if rung is None:
            return Verdict(keep=True)
        rung.fronts.set_waiting(trial, False)
        size = len(rung.recorded)
        return Verdict(True, rung.level, rung.fronts.position(trial), size, quota(size, self.eta, leniency))

    def _rungs(self, trial: str) -> list[_Rung]:
        """The rungs of the trial's bracket. With several brackets, ids must be t0001, t0002, ..."""
        return self.brackets[bracket(trial, len(self.brackets))]
