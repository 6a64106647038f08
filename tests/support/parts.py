"""Parts that a test adds to the catalog and removes again, and the code that they name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna.samplers import BaseSampler, RandomSampler

from rtune.config.section import Count, Section
from rtune.registry import Registry


@contextmanager
def added(registry: Registry[Any], *parts: Any) -> Iterator[None]:
    """Context in which the registry has these parts too."""
    names: list[str] = []
    try:
        for part in parts:
            registry.add(part)
            names.append(part.name)
        yield
    finally:
        for name in names:
            registry.remove(name)


class ShiftConfig(Section):
    """Settings of `shifted`."""

    shift: Count = 1


def shifted(seed: int, shift: int) -> BaseSampler:
    """A sampler that cannot be built without its setting."""
    return RandomSampler(seed=seed + shift)
