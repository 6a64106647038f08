"""Penalty paths: one training that makes its pruning stronger step by step.

This is continuation, as in regularisation paths of the lasso (Friedman, Hastie and Tibshirani,
"Regularization paths for generalized linear models via coordinate descent", 2010): each penalty starts from
the network of the penalty before, so that a few epochs are enough. The network at the end of each step is a
result of its own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from rtune.robust.pruning import Pruner
from rtune.robust.recipe import Recipe


@dataclass(frozen=True)
class PenaltyPath:
    """The steps that follow the first one; by default there are none, and the training has one step.

    With n further steps of `epochs` epochs, the first step has `max_epochs - n * epochs` epochs, to which the
    learning rate and the milestones of the recipe refer.

    Attributes:
        stronger: for each further step, a function that makes its pruner for the network.
        epochs: length of each further step, at least 1.
        lr: learning rate at the start of each further step, above 0; None for that of the recipe.
        milestones: fractions of a further step at which its learning rate is divided by 10.
        keep_momentum: whether a step continues with the optimizer's momentum of the step before; otherwise it
            starts with none.
        keep_state: whether the new pruner continues with the state of the one before: the sparse copy u of
            RVSM and RGSM; u, z and the dense weights of ADMM. Otherwise it starts from the sparse network.

    Raises:
        ValueError: a setting is out of range.
    """

    stronger: tuple[Callable[[nn.Module], Pruner], ...] = ()
    epochs: int = 1
    lr: float | None = None
    milestones: tuple[float, ...] = (2 / 3,)
    keep_momentum: bool = False
    keep_state: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs is {self.epochs}; a step has at least 1")
        if self.lr is not None and not self.lr > 0:
            raise ValueError(f"lr is {self.lr}; it must be above 0")
        if not all(0 < fraction <= 1 for fraction in self.milestones):
            raise ValueError(f"milestones is {self.milestones}; fractions are above 0 and at most 1")

    def first(self, max_epochs: int) -> int:
        """Epochs of the first step. Raises ValueError if none is left for it."""
        left = max_epochs - len(self.stronger) * self.epochs
        if left < 1:
            raise ValueError(
                f"max_epochs is {max_epochs}; {len(self.stronger)} further steps of {self.epochs} epochs "
                "leave none for the first step"
            )
        return left

    def ends(self, max_epochs: int) -> list[int]:
        """Numbers of epochs after which a step ends, ascending; the last one is `max_epochs`."""
        first = self.first(max_epochs)
        return [first + i * self.epochs for i in range(len(self.stronger) + 1)]

    def step(self, epoch: int, max_epochs: int) -> int:
        """Index of the step that trains epoch `epoch`, both counted from 0.

        Epochs after the end, in a training that was made longer, belong to the last step.
        """
        beyond = epoch - self.first(max_epochs)
        return 0 if beyond < 0 else min(beyond // self.epochs + 1, len(self.stronger))

    def starts(self, epoch: int, max_epochs: int) -> bool:
        """Whether a further step begins with epoch `epoch`, counted from 0."""
        return epoch > 0 and self.step(epoch, max_epochs) != self.step(epoch - 1, max_epochs)

    def lr_at(self, recipe: Recipe, epoch: int) -> float:
        """Learning rate of epoch `epoch`, counted from 0."""
        first = self.first(recipe.max_epochs)
        step = self.step(epoch, recipe.max_epochs)
        if step == 0:
            return replace(recipe, max_epochs=first).lr_at(epoch)
        within = replace(
            recipe,
            lr=recipe.lr if self.lr is None else self.lr,
            max_epochs=self.epochs,
            milestones=self.milestones,
        )
        return within.lr_at(epoch - first - (step - 1) * self.epochs)

    def enter(self, step: int, model: nn.Module, before: Pruner, momentum: Iterable[Tensor]) -> Pruner:
        """Begins further step `step` (from 1): the pruner of the step, for a network that is sparse.

        Args:
            step: index of the step.
            model: the network at the end of the step before.
            before: the pruner of the step before, after its `replace`.
            momentum: the optimizer's momentum, set to zero in place unless it is kept.
        """
        pruner = self.stronger[step - 1](model)
        if self.keep_state:
            pruner.load_state_dict(before.state_dict())
        if not self.keep_momentum:
            for buffer in momentum:
                buffer.zero_()
        return pruner


def ladder(first: float, factor: float, steps: int) -> tuple[float, ...]:
    """The strengths first, first * factor, ... of a path with `steps` steps, the first one included.

    Raises:
        ValueError: `first` is not above 0, `factor` is not above 1, or `steps` is below 2.
    """
    if not first > 0:
        raise ValueError(f"first is {first}; it must be above 0")
    if not factor > 1:
        raise ValueError(f"factor is {factor}; it must be above 1")
    if steps < 2:
        raise ValueError(f"steps is {steps}; a path has at least 2")
    return tuple(first * factor**i for i in range(steps))


ONE_STEP = PenaltyPath()
