"""Random draws from another seed."""

from optuna.samplers import BaseSampler, RandomSampler


def shifted(seed: int, shift: int) -> BaseSampler:
    return RandomSampler(seed=seed + shift)
