"""The metrics of a network after an epoch: one row per metric.

Search files name metrics as objectives, logs and results have one column per metric, and reports take label,
direction, bounds and format from here. A new metric is a function in `rtune.worker.measures` and a row here.
"""

import math
from dataclasses import dataclass

from rtune.registry import Registry


@dataclass(frozen=True)
class Metric:
    """A metric of the sparse network at the end of an epoch.

    Attributes:
        name: name of its column and as an objective.
        label: name in reports.
        maximise: whether larger is better, unless an objective gives a direction.
        measure: `"module:function"`, called with a `rtune.worker.measures.Measured`; returns a finite number.
            Empty for times, which the training loop measures.
        low, high: inclusive bounds; None for no bound.
        whole: whether values are whole numbers.
        unit: unit such as `s`; empty for fractions and counts.
        of_images: whether it is a fraction of `images` validation images, with a binomial sampling error.
        core: whether the logs of all versions have it. False for added metrics, which are empty in the rows
            of older runs.
        exact: whether it is counted on the network, so that measuring again gives the same. Of what is
            neither `exact` nor `of_images`, such as a time, the error is unknown.
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
    exact: bool = False

    @property
    def is_fraction(self) -> bool:
        """Whether values lie in [0, 1]."""
        return (self.low, self.high) == (0.0, 1.0)

    def format(self, value: float) -> str:
        """A value as text: `0.913`, `1,204,530`, `12.4`; empty if it is not finite."""
        if not math.isfinite(value):
            return ""
        if self.whole or abs(value) >= 1000:
            return f"{value:,.0f}"
        return f"{value:.3f}" if self.is_fraction else f"{value:.3g}"


def _fraction(name: str, label: str, measure: str, of_images: bool = False) -> Metric:
    measure = f"rtune.worker.measures:{measure}"
    return Metric(name, label, True, measure, high=1.0, of_images=of_images, exact=not of_images, core=True)


def _count(name: str, label: str) -> Metric:
    measure = f"rtune.worker.measures:{name}"
    return Metric(name, label, False, measure, whole=True, exact=True, core=True)


# Other columns of logs, results and reports.
_COLUMNS = (
    *("trial", "epoch", "status", "seed", "sampler", "images", "time", "error", "decision", "run"),
    *("rung", "rung_position", "rung_size", "rung_quota", "notes", "kind"),
)

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
        _count("macs", "MACs"),
        _count("parameters", "parameters"),
        Metric("train_seconds", "train seconds", False, unit="s", core=True),
        Metric("eval_seconds", "eval seconds", False, unit="s", core=True),
    ],
    name=r"[a-z][a-z0-9_]*",
    reserved=_COLUMNS,
)


def core() -> tuple[str, ...]:
    """Names of the metrics that every log has, in the order of the columns."""
    return tuple(metric.name for metric in METRICS.own() if metric.core)


def added() -> tuple[str, ...]:
    """Names of the metrics that older logs may lack."""
    return tuple(metric.name for metric in METRICS if not metric.core)


def of_images() -> tuple[str, ...]:
    """Names of the metrics that are fractions of the validation images."""
    return tuple(metric.name for metric in METRICS if metric.of_images)


def exact() -> tuple[str, ...]:
    """Names of the metrics that have no measurement error."""
    return tuple(metric.name for metric in METRICS if metric.exact)
