"""Metrics of a network after an epoch: one function for each row of `rtune.metrics.METRICS`."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from torch import nn

from rtune import clock
from rtune.config.sections import TrialConfig
from rtune.metrics import METRICS
from rtune.registry import resolve
from rtune.robust import (
    Diverged,
    Footprint,
    Network,
    Split,
    Trainer,
    footprint,
)
from rtune.robust import channel_sparsity as zero_channels
from rtune.robust import weight_sparsity as zero_weights
from rtune.worker import build


@dataclass
class Measured:
    """A network at the end of an epoch; values that several metrics need are computed once.

    Attributes:
        trainer: the trainer of the network; the network is sparse.
        validation: the validation split.
        config: the settings of the trial.
    """

    trainer: Trainer
    validation: Split
    config: TrialConfig

    @property
    def model(self) -> nn.Module:
        """The network, in training or evaluation mode."""
        return self.trainer.model

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images of the data set."""
        return build.source(self.config.data).image_shape

    @cached_property
    def accuracies(self) -> tuple[float, float]:
        """Natural accuracy, and robust accuracy under the attack of `evaluation`, both in [0, 1]."""
        return self.trainer.measure(self.validation, build.attack(self.config.evaluation))

    @cached_property
    def footprint(self) -> Footprint:
        """Cost of the network after compaction."""
        return footprint(cast(Network, self.model), self.image_shape)


def natural_accuracy(measured: Measured) -> float:
    """Fraction of the validation images that are classified correctly, in [0, 1]."""
    return measured.accuracies[0]


def robust_accuracy(measured: Measured) -> float:
    """The same fraction under the attack of `evaluation` in the search file, in [0, 1]."""
    return measured.accuracies[1]


def channel_sparsity(measured: Measured) -> float:
    """See `rtune.robust.channel_sparsity`."""
    return zero_channels(measured.model)


def weight_sparsity(measured: Measured) -> float:
    """See `rtune.robust.weight_sparsity`."""
    return zero_weights(measured.model)


def removable_channels(measured: Measured) -> float:
    """See `rtune.robust.Footprint`."""
    return measured.footprint.removable_channels


def macs(measured: Measured) -> int:
    """See `rtune.robust.Footprint`."""
    return measured.footprint.macs


def parameters(measured: Measured) -> int:
    """See `rtune.robust.Footprint`."""
    return measured.footprint.parameters


def measure_epoch(trainer: Trainer, validation: Split, config: TrialConfig) -> dict[str, Any]:
    """Trains one epoch and measures the network after it.

    Returns:
        The metrics and times of `rtune.run.schema.epoch`; times in seconds.

    Raises:
        Diverged: the loss (see `Trainer.train_epoch`) or a metric is not finite.
        PartError: the function of a metric cannot be imported.
    """
    start = clock.running()
    trainer.train_epoch()
    trained = clock.running()
    measured = Measured(trainer, validation, config)
    figures: dict[str, Any] = {}
    for metric in METRICS:
        figures[metric.name] = 0.0
        if metric.measure:
            figures[metric.name] = resolve(metric.measure, f"metric {metric.name!r}")(measured)
        if not math.isfinite(figures[metric.name]):
            raise Diverged(f"{metric.name} is {figures[metric.name]} after epoch {trainer.epoch}")
    figures["train_seconds"] = round(trained - start, 4)
    figures["eval_seconds"] = round(clock.running() - trained, 4)
    figures["images"] = len(validation)
    return figures
