"""Optuna's samplers as searches use them. Each takes a seed, and any settings of its catalog entry."""

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

# Trials suggested at random before a model is trusted.
_STARTUP = 10

optuna.logging.set_verbosity(optuna.logging.WARNING)


def random(seed: int) -> BaseSampler:
    """Independent draws from the ranges."""
    return RandomSampler(seed=seed)


def tpe(seed: int) -> BaseSampler:
    """Multi-objective tree-structured Parzen estimator over all settings together."""
    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=_STARTUP)


def nsga2(seed: int) -> BaseSampler:
    """NSGA-II with a population that a search of dozens of trials can afford."""
    return NSGAIISampler(seed=seed, population_size=16)


def gp(seed: int) -> BaseSampler:
    """Gaussian process; expected hypervolume improvement for several objectives."""
    return GPSampler(seed=seed, n_startup_trials=_STARTUP)
