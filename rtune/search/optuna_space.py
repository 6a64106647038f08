"""rtune's ranges in Optuna's terms."""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from rtune.config.ranges import Choice, Range


def distribution(domain: Range) -> BaseDistribution:
    """The range as Optuna keeps it."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def suggest(trial: optuna.Trial, path: str, domain: Range) -> Any:
    """A value of the range, suggested by the trial's sampler."""
    if isinstance(domain, Choice):
        return trial.suggest_categorical(path, domain.values)
    if domain.integer:
        return trial.suggest_int(path, int(domain.low), int(domain.high), log=domain.log)
    return trial.suggest_float(path, domain.low, domain.high, log=domain.log)
