"""Asynchronous successive halving whose rungs compare trials by Pareto rank.

Plain ASHA (Li et al., arXiv 1810.05934) needs one number a trial. Here a rung orders its trials by
non-domination rank and, within a rank, by hypervolume contribution. Knows neither Ray nor files.
"""

from dataclasses import dataclass

import moocore
import numpy as np

Point = tuple[float, ...]

# How far below the worst of a rung its reference point lies, as a share of each objective's range:
# the best in one objective counts even if it is the worst in all others, but not for much.
_MARGIN = 0.1


@dataclass(frozen=True)
class Verdict:
    """A rung's word on a trial.

    Attributes:
        keep: whether the trial goes on.
        rung: the rung's epoch; None if there was nothing to decide.
        position: place in the rung's order, 1 for the best.
        size: trials recorded at the rung, this one included.
    """

    keep: bool
    rung: int | None = None
    position: int | None = None
    size: int | None = None


class ParetoHalving:
    """Decides at epochs grace * eta^k, below `max_epochs`, whether a trial goes on.

    Of n trials that have reached a rung, the best ceil(n / eta) go on; a trial is judged once a
    rung, when it arrives, against those that came before. The first eta - 1 all go on: there is
    little to judge them by.

    Args:
        grace: epoch of the first rung, at least 1.
        eta: reduction factor, at least 2.
        max_epochs: epoch at which a trial ends anyway.
    """

    def __init__(self, grace: int, eta: int, max_epochs: int) -> None:
        self.eta = eta
        self.rungs: dict[int, dict[str, Point | None]] = {}
        level = grace
        while level < max_epochs:
            self.rungs[level] = {}
            level *= eta

    def report(self, trial: str, epoch: int, point: Point) -> Verdict:
        """Records a trial's objectives (maximised) after an epoch and decides.

        A trial that reports sparsely is recorded at the highest rung it has passed, never at a
        lower one with later figures.
        """
        passed = [level for level in self.rungs if level <= epoch]
        if not passed or trial in self.rungs[max(passed)]:
            return Verdict(keep=True)
        level = max(passed)
        rung = self.rungs[level]
        rung[trial] = point
        position = self._position(rung)
        keep = len(rung) < self.eta or position <= -(-len(rung) // self.eta)
        return Verdict(keep, level, position, len(rung))

    def diverged(self, trial: str, epoch: int) -> None:
        """Counts a trial that broke in `epoch` as the last at the rung it was on its way to."""
        ahead = [level for level in self.rungs if level >= epoch]
        if ahead:
            self.rungs[min(ahead)][trial] = None

    def _position(self, rung: dict[str, Point | None]) -> int:
        """Place of the newest trial, 1 for the best; equal trials stand in order of arrival."""
        points = [point for point in rung.values() if point is not None]
        return order(np.array(points)).index(len(points) - 1) + 1


def order(points: np.ndarray) -> list[int]:
    """Indices of points (n, objectives), maximised, from best to worst; ties keep their order.

    By non-domination rank; within a rank by the hypervolume that is lost without the point. Plain
    crowding would always keep the ends of a front, and one end here is a network that is all zeros
    and knows nothing.
    """
    ranks = moocore.pareto_rank(points, maximise=True)
    low, high = points.min(axis=0), points.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    scaled = (points - low) / width
    gain = np.empty(len(points))
    for rank in np.unique(ranks):
        members = ranks == rank
        gain[members] = moocore.hv_contributions(scaled[members], ref=-_MARGIN, maximise=True)
    return [int(i) for i in np.lexsort((np.arange(len(points)), -gain, ranks))]
