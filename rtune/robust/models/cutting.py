"""Cutting channels out of a block: what the rules of all blocks are made of.

Each kind of block registers its rule beside its class, with `@cut.register`.
"""

from functools import singledispatch

import torch
from torch import Tensor, nn

from rtune.robust.models.parts import conv


class Select(nn.Module):
    """Reads the channels of that index from (N, C, H, W)."""

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.index]


@singledispatch
def cut(block: nn.Module) -> None:
    """Cuts channels out of a block of one member, in place; each kind of block registers its rule."""
    raise TypeError(f"a {type(block).__name__} cannot be compacted: no rule says which channels may go")


def channels_read(layer: nn.Conv2d) -> Tensor:
    """Which input channels of an ungrouped convolution have a weight that is not zero."""
    return layer.weight.ne(0).any(dim=3).any(dim=2).any(dim=0)


def indices(wanted: Tensor) -> Tensor:
    index = wanted.nonzero().flatten()
    return index if len(index) else index.new_zeros(1)


def cut_conv(layer: nn.Conv2d, weight: Tensor, groups: int = 1) -> nn.Conv2d:
    """The convolution with the channels that `weight` has, a copy of it."""
    out, inputs, kernel, _ = weight.shape
    with torch.device("meta"):
        small = conv(inputs, out // groups, kernel, groups, layer.stride[0])
    small.weight = nn.Parameter(weight.clone())
    return small


def cut_norm(norm: nn.BatchNorm2d, index: Tensor) -> nn.BatchNorm2d:
    small = nn.BatchNorm2d(len(index), eps=norm.eps).to(index.device)
    small.load_state_dict({k: v[index] if v.dim() else v for k, v in norm.state_dict().items()})
    return small
