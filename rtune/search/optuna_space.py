"""rtune's ranges as Optuna distributions."""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from rtune.config.ranges import Choice, Range


def distribution(domain: Range) -> BaseDistribution:
    """The Optuna distribution of a range."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def suggest(trial: optuna.Trial, path: str, domain: Range) -> Any:
    """A value of the range for the setting at a dotted path, suggested by the trial's sampler."""
    if isinstance(domain, Choice):
        return trial.suggest_categorical(path, domain.values)
    if domain.integer:
        return trial.suggest_int(path, int(domain.low), int(domain.high), log=domain.log)
    return trial.suggest_float(path, domain.low, domain.high, log=domain.log)
