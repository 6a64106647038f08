"""What every pruning method shares: the weights w, their sparse copy u, and the order of a batch."""

from typing import Any

import torch
from torch import Tensor, nn


class Pruner:
    """Prunes the convolutions of a network while it is trained. The base class prunes nothing.

    A training loop calls, in this order:

    - for each batch, `pull(lr)` between `backward` and the optimizer's step, `update()` after it.
      All terms of w <- w - lr * grad - lr * beta * (w - u) must see the same w, and weight decay
      too: so `pull` only notes its move, and `update` makes it when the optimizer has read w;
    - at the end of each epoch, `replace()`: the network becomes the sparse one, to be validated
      and saved; before the next epoch, `resume()`.

    Args:
        model: a network; all its `Conv2d` weights are pruned. It must stay on its device, and
            have the weights that training starts from.
    """

    def __init__(self, model: nn.Module) -> None:
        convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
        self.weights: list[Tensor] = [conv.weight for conv in convs]
        self.groups: list[int] = [conv.groups for conv in convs]

    def pull(self, lr: float | Tensor) -> None:
        """Note the move of w towards its sparse copy and add the penalty's gradient to `w.grad`."""

    def update(self) -> None:
        """Make the move, once, and set the sparse copy from the weights just stepped."""

    def replace(self) -> None:
        """Epoch end: make the network sparse (w <- u)."""

    def resume(self) -> None:
        """Epoch start: undo what `replace` did if the method trains on from its dense weights."""

    def state(self) -> dict[str, list[Tensor]]:
        """Tensors to be saved beside the network at an epoch's end, a list a name."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        return {f"{name}.{i}": t for name, ts in self.state().items() for i, t in enumerate(ts)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Raises KeyError if `state` was not made by the same method on the same network."""
        for name, tensors in self.state().items():
            torch._foreach_copy_(tensors, [state[f"{name}.{i}"] for i in range(len(tensors))])

    def _note(self, targets: list[Tensor], rate: float | Tensor) -> None:
        """Notes w <- w - rate * (w - target), outside of the optimizer and its momentum."""
        self._moves = torch._foreach_sub(targets, self.weights)
        torch._foreach_mul_(self._moves, rate)

    def _move(self) -> None:
        torch._foreach_add_(self.weights, self._moves)


def copies(tensors: list[Tensor]) -> list[Tensor]:
    """Detached copies with the same memory layout."""
    return [t.detach().clone() for t in tensors]


def choose(what: str, value: str, options: dict[str, Any]) -> Any:
    """options[value], or a ValueError that lists what is allowed."""
    if value not in options:
        raise ValueError(f"{what} is {value!r}; it must be one of {', '.join(options)}")
    return options[value]
