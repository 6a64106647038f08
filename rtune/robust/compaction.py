"""The small network inside a pruned one: zero channels cut out, the function unchanged."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from rtune.robust.models import Network, split_members
from rtune.robust.models.mobilenet import SeparableBlock
from rtune.robust.models.parts import conv
from rtune.robust.models.resnet import PreActBlock


@dataclass(frozen=True)
class Footprint:
    """What a network costs once compacted.

    Attributes:
        removable_channels: fraction, in [0, 1], of all convolutions' input channels cut out.
        macs: multiply-accumulates of convolutions and linear layers for one image.
        parameters: number of parameters, zeros that could not be cut out included.
    """

    removable_channels: float
    macs: int
    parameters: int


def footprint(model: Network, image_shape: tuple[int, int, int]) -> Footprint:
    """Compacts a copy of the network and counts. image_shape: (C, H, W)."""
    small = compact(model)
    image = torch.zeros(1, *image_shape, device=next(model.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        small(image)
    before, after = _input_channels(model), _input_channels(small)
    return Footprint(
        removable_channels=(before - after) / before,
        macs=counter.get_total_flops() // 2,
        parameters=sum(p.numel() for p in small.parameters()),
    )


@torch.no_grad()
def compact(model: Network) -> "CompactEnsemble":
    """An evaluation-mode copy without the channels that nothing reads, a member at a time.

    What may go from a block is said by its rule below. The tensor between two blocks keeps its
    width: with skip connections every block of a stage shares it, and the noise is scaled by the
    spread of all of it. (A network without either could be cut there too; it is not.) At least one
    channel stays where all could go. Same logits as `model` up to rounding; with noise, the same
    distribution.

    Raises:
        TypeError: a block for which there is no rule.
    """
    members = split_members(model)
    for member in members:
        for block in member.blocks:
            cut(block)
    return CompactEnsemble(members).eval()


class CompactEnsemble(nn.Module):
    """Averages the logits of separate members, whose layers may differ in width."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images) for member in self.members]).mean(dim=0)


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


@cut.register
def _cut_pre_activation(block: PreActBlock) -> None:
    """Inputs that neither the first convolution nor the shortcut reads; middle channels not read after."""
    readers = [block.conv1] if block.shortcut is None else [block.conv1, block.shortcut]
    inputs = _indices(torch.stack([_read(layer) for layer in readers]).any(dim=0))
    middle = _indices(_read(block.conv2))
    block.read = Select(inputs)
    block.norm1 = _norm(block.norm1, inputs)
    block.conv1 = _conv(block.conv1, block.conv1.weight[middle][:, inputs])
    block.norm2 = _norm(block.norm2, middle)
    block.conv2 = _conv(block.conv2, block.conv2.weight[:, middle])
    if block.shortcut is not None:
        block.shortcut = _conv(block.shortcut, block.shortcut.weight[:, inputs])


@cut.register
def _cut_separable(block: SeparableBlock) -> None:
    """Channels that the pointwise convolution does not read, and those whose filter is zero.

    A zero filter gives one and the same value everywhere, ReLU of what BN makes of 0. A 1x1
    convolution passes that on as a constant, so it moves into the mean of the BN that follows.
    """
    filters = block.depthwise.weight
    kept = _indices(_read(block.pointwise) & filters.ne(0).flatten(1).any(dim=1))
    constant = F.relu(block.norm1(filters.new_zeros(1, len(filters), 1, 1)))
    constant[:, kept] = 0
    mean = block.norm2.running_mean
    assert mean is not None
    mean -= block.pointwise(constant).flatten()
    block.read = Select(kept)
    block.depthwise = _conv(block.depthwise, filters[kept], groups=len(kept))
    block.norm1 = _norm(block.norm1, kept)
    block.pointwise = _conv(block.pointwise, block.pointwise.weight[:, kept])


def _read(layer: nn.Conv2d) -> Tensor:
    """Which input channels of an ungrouped convolution have a weight that is not zero."""
    return layer.weight.ne(0).any(dim=3).any(dim=2).any(dim=0)


def _indices(wanted: Tensor) -> Tensor:
    index = wanted.nonzero().flatten()
    return index if len(index) else index.new_zeros(1)


def _conv(layer: nn.Conv2d, weight: Tensor, groups: int = 1) -> nn.Conv2d:
    """The convolution with the channels that `weight` has, a copy of it."""
    out, inputs, kernel, _ = weight.shape
    with torch.device("meta"):
        small = conv(inputs, out // groups, kernel, groups, layer.stride[0])
    small.weight = nn.Parameter(weight.clone())
    return small


def _norm(norm: nn.BatchNorm2d, index: Tensor) -> nn.BatchNorm2d:
    small = nn.BatchNorm2d(len(index), eps=norm.eps).to(index.device)
    small.load_state_dict({k: v[index] if v.dim() else v for k, v in norm.state_dict().items()})
    return small


def _input_channels(model: nn.Module) -> int:
    """Input channels over all convolutions, a group's own counted for each group."""
    return sum(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
