"""Base class of the pruning methods: weights w, sparse copy u, and the steps of a batch."""

from typing import Any

import torch
from torch import Tensor, nn


class Pruner:
    """Prunes the convolutions of a network during training. The base class itself prunes nothing.

    A training loop calls, in this order:

    - for each batch, `pull(lr)` between the backward pass and the step of the optimizer, and `update()` after
      the step. All terms of w <- w - lr * grad - lr * beta * (w - u), and weight decay, must use the same w.
      So `pull` only computes the change -lr * beta * (w - u), and `update` applies it after the optimizer;
    - at the end of each epoch, `replace()`, which makes the network sparse for validation and checkpoint;
      before the next epoch, `resume()`.

    Args:
        model: a network with its initial weights, on the device of the training; all `Conv2d` weights are
            pruned.
    """

    def __init__(self, model: nn.Module) -> None:
        convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
        self.weights: list[Tensor] = [conv.weight for conv in convs]
        self.groups: list[int] = [conv.groups for conv in convs]

    def pull(self, lr: float | Tensor) -> None:
        """Computes the change of w towards u for `update`; adds the penalty's gradient, if any, to `w.grad`.

        lr: learning rate of the batch.
        """

    def update(self) -> None:
        """Applies the change that `pull` computed and sets u from the new w."""

    def replace(self) -> None:
        """End of an epoch: makes the network sparse (w <- u)."""

    def resume(self) -> None:
        """Start of an epoch: restores the dense weights, if the method continues from them."""

    def state(self) -> dict[str, list[Tensor]]:
        """Tensors that a checkpoint needs in addition to the network: name -> one tensor per convolution."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors of `state`, as `NAME.INDEX` -> tensor."""
        return {f"{name}.{i}": t for name, ts in self.state().items() for i, t in enumerate(ts)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` gave. Raises KeyError if it is from another method or network."""
        for name, tensors in self.state().items():
            torch._foreach_copy_(tensors, [state[f"{name}.{i}"] for i in range(len(tensors))])

    def _note(self, targets: list[Tensor], rate: float | Tensor) -> None:
        """Computes the change -rate * (w - target), which does not enter the optimizer's momentum."""
        self._moves = torch._foreach_sub(targets, self.weights)
        torch._foreach_mul_(self._moves, rate)

    def _move(self) -> None:
        torch._foreach_add_(self.weights, self._moves)


def copies(tensors: list[Tensor]) -> list[Tensor]:
    """Detached copies with the same memory layout."""
    return [t.detach().clone() for t in tensors]


def choose(what: str, value: str, options: dict[str, Any]) -> Any:
    """options[value]. Raises ValueError with the allowed values if there is none."""
    if value not in options:
        raise ValueError(f"{what} is {value!r}; it must be one of {', '.join(options)}")
    return options[value]
