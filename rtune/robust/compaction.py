"""The small network inside a pruned one: zero channels cut out, the function unchanged."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rtune.robust.models import Network, split_members
from rtune.robust.models.cutting import cut


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

    Each kind of block has a rule for what can be cut (`rtune.robust.models.cutting.cut`). The tensor between
    two blocks keeps its width: with skip connections every block of a stage shares it, and the noise is
    scaled by the standard deviation of all of it. (A network without either could be cut there too; it is
    not.) At least one channel stays where all could be cut. Same logits as `model` up to rounding; with
    noise, the same distribution.

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


def _input_channels(model: nn.Module) -> int:
    """Input channels over all convolutions, a group's own counted for each group."""
    return sum(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
