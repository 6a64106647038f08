"""The table of metrics: what every log has, and how figures are written."""

import math

from rtune import metrics
from rtune.metrics import METRICS, Metric


def test_every_log_has_the_first_nine() -> None:
    """Of every format so far: a metric that is added is not `core`, or old logs would lack it."""
    assert metrics.core() == (
        "natural_accuracy",
        "robust_accuracy",
        "channel_sparsity",
        "weight_sparsity",
        "removable_channels",
        "macs",
        "parameters",
        "train_seconds",
        "eval_seconds",
    )
    assert metrics.of_images() == ("natural_accuracy", "robust_accuracy")


def test_figures_are_written_by_their_kind() -> None:
    assert METRICS["robust_accuracy"].format(0.91349) == "0.913"
    assert METRICS["macs"].format(1204530) == "1,204,530"
    assert METRICS["train_seconds"].format(0.4213) == "0.421"
    assert METRICS["train_seconds"].format(12.44) == "12.4"
    assert METRICS["train_seconds"].format(1234.5) == "1,234"
    assert METRICS["macs"].format(math.nan) == ""
    assert Metric("count", "count", True, whole=True).format(12345) == "12,345"
