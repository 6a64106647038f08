"""The scheduler for any Ray Tune experiment: its decisions, and what it refuses."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from rtune.cluster.scheduler import ParetoASHAScheduler


def test_a_figure_that_is_smaller_is_better_where_it_says_min() -> None:
    scheduler = ParetoASHAScheduler({"accuracy": "max", "loss": "min"}, max_t=9, reduction_factor=2)

    def report(name: str, accuracy: float, loss: float) -> str:
        result = {"training_iteration": 1, "accuracy": accuracy, "loss": loss}
        trial: Any = SimpleNamespace(trial_id=name)
        return scheduler.on_trial_result(None, trial, result)

    assert report("first", 0.5, 0.5) == "CONTINUE"
    assert report("more of both", 0.6, 0.6) == "STOP"  # in one front with the first, of which one may go on
    assert report("worse", 0.4, 0.7) == "STOP"
    assert report("better", 0.7, 0.4) == "CONTINUE"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"metrics": {"a": "max"}}, "metrics is {'a': 'max'}; at least two"),
        ({"metrics": {"a": "max", "b": "up"}}, "metrics['b'] is 'up'; 'max' or 'min'"),
        ({"reduction_factor": 1}, "reduction_factor is 1; at least 2"),
        ({"grace_period": 0}, "grace_period is 0; 1 to max_t, which is 9"),
        ({"grace_period": 10}, "grace_period is 10; 1 to max_t, which is 9"),
        ({"brackets": 3}, "brackets is 3; 1 to the number of rungs (2)"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        ParetoASHAScheduler(**({"metrics": {"a": "max", "b": "min"}, "max_t": 9} | arguments))


def test_a_metric_that_no_trial_reports_is_named() -> None:
    scheduler = ParetoASHAScheduler({"accuracy": "max", "size": "min"}, max_t=9)
    trial: Any = SimpleNamespace(trial_id="x")
    with pytest.raises(
        ValueError, match=r"trial x reports no size; it has \['accuracy', 'training_iteration'\]"
    ):
        scheduler.on_trial_result(None, trial, {"training_iteration": 1, "accuracy": 0.5})
