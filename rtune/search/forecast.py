"""Forecast of a trial's final objectives: its last values plus the gain of similar finished trials."""

import functools
from collections.abc import Sequence

import numpy as np

# With fewer finished trials there is no forecast.
_FEW = 3
# Kernel width, as a share of the 10th to 90th percentile range of the finished trials at the epoch.
_WIDTH = 0.25
# Weight of the mean gain of all finished trials, in trials.
_PRIOR = 0.5


class Forecast:
    """Final objectives of unfinished trials, predicted from the curves of finished ones.

    The gain from an epoch to the end is a kernel average over the finished trials. The weight of a finished
    trial is a Gaussian of the distance between its objectives at that epoch and the unfinished trial's, over
    all objectives. Each objective has its own gain, since sparsity and accuracy change at different epochs.

    Args:
        curves: one array (max_epochs, objectives) per finished trial, signed so that larger is better.
    """

    def __init__(self, curves: Sequence[np.ndarray]) -> None:
        self._curves = np.stack(curves) if len(curves) >= _FEW else None
        # Cached: it is the same for all trials of an epoch, and a large search needs it thousands of times.
        self._at = functools.cache(self._finished_at)

    def __call__(self, epoch: int, point: Sequence[float]) -> np.ndarray:
        """Expected final objectives (objectives,) of a trial.

        Args:
            epoch: epochs trained so far, 1 to max_epochs.
            point: objectives after that epoch, (objectives,), signed.

        With fewer than three finished trials the result is `point` itself.
        """
        now = np.array(point, float)
        if self._curves is None:
            return now
        then, gains, width, mean = self._at(epoch)
        weights = np.exp(-0.5 * np.sum(((then - now) / width) ** 2, axis=1))
        return np.asarray(now + (weights @ gains + _PRIOR * mean) / (weights.sum() + _PRIOR))

    def _finished_at(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Objectives at an epoch and gains from there, (trials, objectives); kernel width and mean gain,
        (objectives,)."""
        assert self._curves is not None
        then = self._curves[:, epoch - 1]
        gains = self._curves[:, -1] - then
        low, high = np.percentile(then, [10, 90], axis=0)
        return then, gains, _WIDTH * np.where(high > low, high - low, 1.0), gains.mean(axis=0)
