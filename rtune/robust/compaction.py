"""Compaction: removes the zero channels of a pruned network without a change of its function."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rtune.robust.models import Network, split_members
from rtune.robust.models.cutting import cut, has_rule


@dataclass(frozen=True)
class Footprint:
    """The cost of a network after compaction.

    Attributes:
        removable_channels: fraction of the input channels of all convolutions that are removed, in [0, 1].
        macs: multiply-accumulate operations of convolutions and linear layers for one image.
        parameters: number of parameters, including zeros that cannot be removed.
    """

    removable_channels: float
    macs: int
    parameters: int


def footprint(model: Network, image_shape: tuple[int, int, int]) -> Footprint:
    """The cost of the network after compaction; the network itself is unchanged.

    Args:
        model: the network.
        image_shape: (C, H, W).

    Raises:
        TypeError: a block has no compaction rule.
    """
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


def check_compactable(model: Network) -> None:
    """Whether `compact` has all that it needs of a new kind of network; compacts nothing.

    Raises:
        TypeError: a block has no compaction rule, or a member cannot be built from `model.settings`.
    """
    type(model)(**model.settings, members=1, gamma=0.0)
    for block in model.blocks:
        if not has_rule(block):
            cut(block)


@torch.no_grad()
def compact(model: Network) -> "CompactEnsemble":
    """A copy in evaluation mode without the channels that no layer reads; members are compacted separately.

    Each kind of block has a rule for the channels that can be removed (`rtune.robust.models.cutting.cut`).
    The tensor between two blocks keeps its width: with skip connections all blocks of a stage share it, and
    the noise is scaled by the standard deviation of the whole tensor. (In a network without skip connections
    and noise, channels could be removed there too; this is not done.) A layer keeps at least one channel. The
    logits equal those of `model` up to rounding; with noise, they have the same distribution.

    Args:
        model: the network, alone or an ensemble.

    Raises:
        TypeError: a block has no compaction rule.
    """
    members = split_members(model)
    for member in members:
        for block in member.blocks:
            cut(block)
    return CompactEnsemble(members).eval()


class CompactEnsemble(nn.Module):
    """Averages the logits of separate networks, whose layers may have different widths.

    Maps images (N, C, H, W) in [0, 1] to logits (N, classes).
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images) for member in self.members]).mean(dim=0)


def _input_channels(model: nn.Module) -> int:
    """Number of input channels of all convolutions, summed over groups."""
    return sum(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
