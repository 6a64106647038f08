"""What is known of a network after an epoch: one row a metric.

Search files name them as objectives, logs and results have a column each, and reports take label, direction,
bounds and format from here. To add one: a function in `rtune.worker.measures` and a row here.
"""

import math
from dataclasses import dataclass

from rtune.registry import Registry


@dataclass(frozen=True)
class Metric:
    """A figure of the sparse network at an epoch's end.

    Attributes:
        name: its column, and its name as an objective.
        label: for readers.
        maximise: whether more is better where an objective gives no direction.
        measure: `"module:function"`, called with a `rtune.worker.measures.Measured`; gives a finite number.
            Empty for the times, which the training loop takes.
        low, high: bounds, both included; None where there are none.
        whole: whether it is a whole number.
        unit: such as `s`; empty for fractions and counts.
        of_images: whether it is a fraction of `images` validation images, with the error that goes with that.
        core: whether every log of every version has it. False for whatever is added: it is then empty in the
            rows of older runs.
    """

    name: str
    label: str
    maximise: bool
    measure: str = ""
    low: float | None = 0.0
    high: float | None = None
    whole: bool = False
    unit: str = ""
    of_images: bool = False
    core: bool = False

    @property
    def is_fraction(self) -> bool:
        """Whether it lies in [0, 1]."""
        return (self.low, self.high) == (0.0, 1.0)

    def format(self, value: float) -> str:
        """A figure for readers: `0.913`, `1,204,530`, `12.4`."""
        if not math.isfinite(value):
            return ""
        if self.whole or abs(value) >= 1000:
            return f"{value:,.0f}"
        return f"{value:.3f}" if self.is_fraction else f"{value:.3g}"


def _fraction(name: str, label: str, measure: str, of_images: bool = False) -> Metric:
    measure = f"rtune.worker.measures:{measure}"
    return Metric(name, label, True, measure, high=1.0, of_images=of_images, core=True)


METRICS = Registry(
    "metric",
    "metrics",
    Metric,
    [
        _fraction("natural_accuracy", "natural accuracy", "natural_accuracy", of_images=True),
        _fraction("robust_accuracy", "robust accuracy", "robust_accuracy", of_images=True),
        _fraction("channel_sparsity", "channel sparsity", "channel_sparsity"),
        _fraction("weight_sparsity", "weight sparsity", "weight_sparsity"),
        _fraction("removable_channels", "removable channels", "removable_channels"),
        Metric("macs", "MACs", False, "rtune.worker.measures:macs", whole=True, core=True),
        Metric("parameters", "parameters", False, "rtune.worker.measures:parameters", whole=True, core=True),
        Metric("train_seconds", "train seconds", False, unit="s", core=True),
        Metric("eval_seconds", "eval seconds", False, unit="s", core=True),
    ],
)


def core() -> tuple[str, ...]:
    """Metrics that every log has, in the order of its columns."""
    return tuple(metric.name for metric in METRICS.own() if metric.core)


def added() -> tuple[str, ...]:
    """Metrics that only newer logs have."""
    return tuple(metric.name for metric in METRICS if not metric.core)


def of_images() -> tuple[str, ...]:
    """Metrics that are fractions of the validation images."""
    return tuple(metric.name for metric in METRICS if metric.of_images)
