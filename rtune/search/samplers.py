"""Optuna's samplers with rtune's settings. Each takes a seed and the settings of its catalog entry."""

import warnings

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

# Number of random trials before the model makes suggestions.
_STARTUP = 10

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def random(seed: int) -> BaseSampler:
    """Independent draws from the ranges."""
    return RandomSampler(seed=seed)


def tpe(seed: int) -> BaseSampler:
    """Multi-objective tree-structured Parzen estimator (Ozaki et al. 2022) over all settings jointly."""
    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=_STARTUP)


def nsga2(seed: int) -> BaseSampler:
    """NSGA-II (Deb et al. 2002) with a population small enough for a search of dozens of trials."""
    return NSGAIISampler(seed=seed, population_size=16)


def gp(seed: int) -> BaseSampler:
    """Gaussian process with expected hypervolume improvement for several objectives."""
    return GPSampler(seed=seed, n_startup_trials=_STARTUP)
