"""Multi-objective ASHA for any Ray Tune experiment: `tune.TuneConfig(scheduler=ParetoASHAScheduler(...))`.

The rungs are those of an rtune search. One difference: a stopped trial cannot continue later.
"""

import math
from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from rtune.config import rungs
from rtune.search.halving import ParetoHalving


class ParetoASHAScheduler(FIFOScheduler):
    """Stops a trial at a rung unless it is among the best n / eta there by Pareto rank.

    Args:
        metrics: name in the results -> `max` or `min`; at least two.
        max_t: `time_attr` at which a trial is complete.
        grace_period: `time_attr` at the first rung; the others are at grace_period * reduction_factor^k.
        reduction_factor: eta, at least 2.
        brackets: as in `ParetoHalving`; trials are assigned to them in turn, in the order of their first
            reports.
        time_attr: name of the result that counts a trial's progress.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        metrics: Mapping[str, str],
        max_t: int,
        grace_period: int = 1,
        reduction_factor: int = 3,
        brackets: int = 1,
        time_attr: str = "training_iteration",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if len(metrics) < 2:
            raise ValueError(f"metrics is {dict(metrics)}; at least two are expected")
        for name, mode in metrics.items():
            if mode not in ("max", "min"):
                raise ValueError(f"metrics[{name!r}] is {mode!r}; 'max' or 'min' is expected")
        if reduction_factor < 2:
            raise ValueError(f"reduction_factor is {reduction_factor}; at least 2 is expected")
        if not 1 <= grace_period <= max_t:
            raise ValueError(f"grace_period is {grace_period}; 1 to max_t, which is {max_t}, is expected")
        levels = rungs.levels(grace_period, reduction_factor, max_t)
        if not 1 <= brackets <= max(1, len(levels)):
            raise ValueError(f"brackets is {brackets}; 1 to the number of rungs ({len(levels)}) is expected")
        self._metrics = {name: 1.0 if mode == "max" else -1.0 for name, mode in metrics.items()}
        self._max_t = max_t
        self._time_attr = time_attr
        self._halving = ParetoHalving(levels, reduction_factor, brackets)
        self._numbers: dict[str, int] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """True: `TuneConfig`'s metric is for the searcher; this scheduler has its own metrics."""
        return True

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Continues or stops the trial. A trial with a metric that is not finite counts as diverged.

        Raises:
            ValueError: the result lacks a metric or `time_attr`.
        """
        absent = [name for name in (self._time_attr, *self._metrics) if name not in result]
        if absent:
            raise ValueError(
                f"trial {trial.trial_id} reports no {', '.join(absent)}; it has {sorted(result)}"
            )
        epoch = result[self._time_attr]
        point = [sign * float(result[name]) for name, sign in self._metrics.items()]
        if not all(map(math.isfinite, point)):
            self._halving.diverged(self._name(trial), epoch)
            return str(TrialScheduler.STOP)
        keep = epoch < self._max_t and self._halving.report(self._name(trial), epoch, point).keep
        return str(TrialScheduler.CONTINUE if keep else TrialScheduler.STOP)

    def _name(self, trial: Trial) -> str:
        """`ParetoHalving` derives the bracket from the number in the name."""
        number = self._numbers.setdefault(trial.trial_id, len(self._numbers) + 1)
        return f"t{number:04d}"
