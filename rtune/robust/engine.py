"""The steps of a training that an engine may compute faster, and the plain engine.

`rtune.robust.training.Trainer` says what is computed, an engine how. The one here is plain float32
PyTorch; `rtune.robust.fast` has one for CPUs and one for GPUs, which tests hold to the plain one's numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rtune.robust.attacks.pgd import Attack
from rtune.robust.data import Split
from rtune.robust.evaluation import accuracy
from rtune.robust.random import LOCK, seeded

# Trains on the images at an index (N,); their mean loss.
Step = Callable[[Tensor], Tensor]
# Natural and robust accuracy of a network, each in [0, 1], on a split under an attack, with a seed for noise.
Measure = Callable[[Split, Attack, int], tuple[float, float]]


@dataclass(frozen=True)
class Generators:
    """The random numbers of one training, on its device.

    Attributes:
        data: draws the order, crops and flips of the training images.
        noise: draws an attack's random start and a network's noise, if the engine does not draw
            them from torch's global generator.
    """

    data: torch.Generator
    noise: torch.Generator

    @classmethod
    def on(cls, device: torch.device) -> "Generators":
        """New generators, which the trainer seeds in each epoch."""
        return cls(torch.Generator(device), torch.Generator(device))


@dataclass(frozen=True)
class Engine:
    """Plain float32 PyTorch, the base class of the others.

    An engine holds nothing of a training: several trainings may use one.

    Attributes:
        obstacle: why a training that asked for a faster engine got this one; None if it did not ask.
    """

    obstacle: str | None = None

    def suited(self, attack: Attack) -> "Engine":
        """The engine that trains with this attack: this one, or the plain one if it cannot."""
        return self

    def prepare(self, model: nn.Module) -> None:
        """Called once before the first step; may change how the network computes, not what."""

    def optimizer(
        self, model: nn.Module, lr: float, momentum: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        """SGD with Nesterov momentum on all parameters, in one group."""
        return torch.optim.SGD(
            model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=True
        )

    def set_lr(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        """Sets the learning rate of an optimizer that `optimizer` made."""
        for group in optimizer.param_groups:
            group["lr"] = lr

    def attack(self, attack: Attack, model: nn.Module) -> Attack:
        """The same attack on this network, faster where that is possible."""
        return attack

    def autocast(self) -> AbstractContextManager[object]:
        """Context of a training step's attack and loss: the precision in which they multiply."""
        return nullcontext()

    @contextmanager
    def seeded(self, generators: Generators, seed: int) -> Iterator[None]:
        """Context in which the random starts and the noise of this training are drawn from `seed`."""
        with LOCK, seeded(seed, generators.noise.device):
            yield

    def recorded(self, step: Step, changed: Callable[[], Sequence[Tensor]], generators: Generators) -> Step:
        """The training step, recorded and replayed where the engine can.

        Args:
            step: changes its tensors in place.
            changed: gives the tensors that it changes.
            generators: what it draws from.
        """
        return step

    def measuring(self, model: nn.Module, generators: Generators) -> Measure:
        """Measures the network whenever it is called; a noisy network classifies each image once.

        The attack runs as in training; its images are classified in float32.
        """

        def measure(split: Split, attack: Attack, seed: int) -> tuple[float, float]:
            with self.seeded(generators, seed):
                return accuracy(model, split), accuracy(model, split, self.attack(attack, model))

        return measure
