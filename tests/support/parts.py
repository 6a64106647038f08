"""Parts that a test adds to the catalog and removes again, and the code that they name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna.samplers import BaseSampler, RandomSampler
from torch import Tensor, nn

from rtune.config.section import Count, Section
from rtune.registry import Registry
from rtune.robust import Network, Pruner
from rtune.robust.models.parts import EnsembleLinear, conv


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


class StrictConfig(Section):
    """Settings of `Strict`."""

    strength: Count = 2


class Strict:
    """An attack that takes what its entry says, all of it and nothing else."""

    def __init__(
        self,
        *,
        epsilon: float,
        step_size: float,
        steps: int,
        restarts: int,
        eot_draws: int,
        random_start: bool,
        loss: object,
        strength: int,
    ) -> None:
        assert (epsilon > 0, step_size > 0, steps >= 1, restarts, strength) == (True, True, True, 1, 2)
        assert callable(loss)
        self.given = list(locals())[1:]

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return images


class NoRule(Network):
    """A network whose block has no rule for compaction."""

    def __init__(self, width: int, in_channels: int, classes: int, members: int = 1, gamma: float = 0.0):
        super().__init__(in_channels, classes, members, gamma, width=width)
        self.stem = conv(in_channels, width, 3, members)
        self.blocks = nn.Sequential(nn.Sequential(conv(width, width, 3, members)))
        self.head = EnsembleLinear(width, classes, members)

    def features(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x))


class TooFewClasses(NoRule):
    """A network whose logits are those of one class too few."""

    def __init__(self, width: int, in_channels: int, classes: int):
        super().__init__(width, in_channels, classes - 1)


class TooManyChannels(NoRule):
    """A network that takes no images of the data set."""

    def __init__(self, width: int, in_channels: int, classes: int):
        super().__init__(width, in_channels + 1, classes)


class NoMembers(NoRule):
    """A network that cannot be built as one member of an ensemble."""

    def __init__(self, width: int, in_channels: int, classes: int):
        super().__init__(width, in_channels, classes)
        self.blocks = nn.Sequential()


def plain_module(width: int, in_channels: int, classes: int) -> nn.Module:
    """A torch module that is no network of rtune."""
    return nn.Linear(in_channels, classes)


class Unhashable:
    """An attack loss that defines equality and so has no hash."""

    needs_clean = False

    def __eq__(self, other: object) -> bool:
        return True

    def __call__(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        return logits[:, 0]


def unclean(logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
    """An attack loss that does not say whether it needs clean logits."""
    return logits[:, 0]


def unclean_loss() -> object:
    return unclean


class Fixed(Pruner):
    """A pruner without settings."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)


class Broken:
    """An attack that can be built but not used."""

    def __init__(self, epsilon: float, random_start: bool, loss: object):
        pass

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        raise KeyError("no such thing")
