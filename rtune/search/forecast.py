"""Where a trial is heading: its last figures, and what trials gained that stood where it stands."""

import functools
from collections.abc import Sequence

import numpy as np

# Fewer finished trials than this say nothing.
_FEW = 3
# How near is near, as a share of the spread of the finished trials' figures at the epoch.
_WIDTH = 0.25
# The weight of the average gain of all finished trials, in trials.
_PRIOR = 0.5


class Forecast:
    """Final objectives of unfinished trials from the curves of finished ones.

    The gain from an epoch to the end is a kernel average over the finished trials, each weighted by
    how close its objectives were at that epoch. Sparsity and accuracy move at different times, so
    each objective has its own gain, yet all of them say who is close.

    Args:
        curves: (max_epochs, objectives) of each finished trial.
    """

    def __init__(self, curves: Sequence[np.ndarray]) -> None:
        self._curves = np.stack(curves) if len(curves) >= _FEW else None
        # What is the same for all trials of an epoch: a large search asks thousands of times.
        self._at = functools.cache(self._finished_at)

    def __call__(self, epoch: int, point: Sequence[float]) -> np.ndarray:
        """Expected final objectives (objectives,) of a trial that has `point` after `epoch` epochs.

        With fewer than three finished trials, the point itself.
        """
        now = np.array(point, float)
        if self._curves is None:
            return now
        then, gains, width, mean = self._at(epoch)
        weights = np.exp(-0.5 * np.sum(((then - now) / width) ** 2, axis=1))
        return np.asarray(now + (weights @ gains + _PRIOR * mean) / (weights.sum() + _PRIOR))

    def _finished_at(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of finished trials: figures at an epoch, gains from there, how near is near, the average gain."""
        assert self._curves is not None
        then = self._curves[:, epoch - 1]
        gains = self._curves[:, -1] - then
        low, high = np.percentile(then, [10, 90], axis=0)
        return then, gains, _WIDTH * np.where(high > low, high - low, 1.0), gains.mean(axis=0)
