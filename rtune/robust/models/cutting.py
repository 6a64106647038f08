"""Removal of channels from a block: the functions that the compaction rules of all blocks use.

Each kind of block registers its rule next to its class, with `@cut.register`.
"""

from functools import singledispatch

import torch
from torch import Tensor, nn

from rtune.robust.models.parts import conv


class Select(nn.Module):
    """Selects channels: (N, C, H, W) -> (N, len(index), H, W). index: (n,) int64."""

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.index]


@singledispatch
def cut(block: nn.Module) -> None:
    """Removes channels from a block of a single network, in place; each kind of block registers its rule.

    Raises:
        TypeError: this kind of block has no rule.
    """
    raise TypeError(f"a {type(block).__name__} cannot be compacted: it has no rule for removing channels")


def has_rule(block: nn.Module) -> bool:
    """Whether this kind of block has a rule in `cut`."""
    return cut.dispatch(type(block)) is not cut.dispatch(object)


def channels_read(layer: nn.Conv2d) -> Tensor:
    """Which input channels of a convolution without groups have a nonzero weight: bool (in,)."""
    return layer.weight.ne(0).any(dim=3).any(dim=2).any(dim=0)


def indices(wanted: Tensor) -> Tensor:
    """Indices (n,), int64, of the true elements of a bool vector; [0] if none, so that a channel stays."""
    index = wanted.nonzero().flatten()
    return index if len(index) else index.new_zeros(1)


def cut_conv(layer: nn.Conv2d, weight: Tensor, groups: int = 1) -> nn.Conv2d:
    """A convolution like `layer` with a copy of `weight` (out, in / groups, kernel, kernel) as weights."""
    out, inputs, kernel, _ = weight.shape
    with torch.device("meta"):
        small = conv(inputs, out // groups, kernel, groups, layer.stride[0])
    small.weight = nn.Parameter(weight.clone())
    return small


def cut_norm(norm: nn.BatchNorm2d, index: Tensor) -> nn.BatchNorm2d:
    """A copy of the batch normalisation with the channels at `index` (n,)."""
    small = nn.BatchNorm2d(len(index), eps=norm.eps).to(index.device)
    small.load_state_dict({k: v[index] if v.dim() else v for k, v in norm.state_dict().items()})
    return small
