"""The small network inside a pruned one: zero channels cut out, the function unchanged."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from rtune.robust.models.resnet import PreActBlock, PreActResNet, add_noise


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


def footprint(model: PreActResNet, image_shape: tuple[int, int, int]) -> Footprint:
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
def compact(model: PreActResNet) -> "CompactEnsemble":
    """An evaluation-mode copy without the channels that no convolution of a block reads.

    For each member and block: input channels read by neither the first convolution nor the
    shortcut, and middle channels not read by the second. The residual stream itself keeps its
    width (every block of a stage shares it, and the noise is scaled by its spread), and at least
    one channel stays where all could go. Same logits as `model` up to rounding; with noise, the
    same distribution.
    """
    return CompactEnsemble([_compact_member(m) for m in split_members(model)]).eval()


class CompactEnsemble(nn.Module):
    """Averages the logits of separate members, whose layers may differ in width."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([member(images) for member in self.members]).mean(dim=0)


class CompactBlock(nn.Module):
    """A `PreActBlock` that reads only the channels `keep_in` of the residual stream."""

    keep_in: Tensor

    def __init__(self, block: PreActBlock) -> None:
        super().__init__()
        read = _nonzero_inputs(block.conv1)
        if block.shortcut is not None:
            read |= _nonzero_inputs(block.shortcut)
        keep_in, keep_mid = _kept(read), _kept(_nonzero_inputs(block.conv2))
        everything = torch.arange(block.conv2.out_channels, device=keep_in.device)
        self.gamma = block.gamma
        self.register_buffer("keep_in", keep_in)
        self.norm1 = _slice_norm(block.norm1, keep_in)
        self.conv1 = _slice_conv(block.conv1, keep_mid, keep_in)
        self.norm2 = _slice_norm(block.norm2, keep_mid)
        self.conv2 = _slice_conv(block.conv2, everything, keep_mid)
        cut = block.shortcut
        self.shortcut = None if cut is None else _slice_conv(cut, everything, keep_in)

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.norm1(x[:, self.keep_in]))
        residual = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        x = residual + (x if self.shortcut is None else self.shortcut(activated))
        return x if self.gamma == 0 else add_noise(x, self.gamma, members=1)


@torch.no_grad()
def split_members(model: PreActResNet) -> list[PreActResNet]:
    """Each member of an ensemble as a network of its own, in evaluation mode."""
    if model.members == 1:
        return [copy.deepcopy(model).eval()]
    members = []
    for m in range(model.members):
        member = _single_copy(model)
        state = {}
        for name, value in model.state_dict().items():
            if name.startswith("head."):
                state[name] = value[m : m + 1]
            elif value.dim() > 0:
                state[name] = value.chunk(model.members)[m]
            else:
                state[name] = value
        member.load_state_dict(state)
        members.append(member.eval())
    return members


def _single_copy(model: PreActResNet) -> PreActResNet:
    first = model.blocks[0]
    assert isinstance(first, PreActBlock)
    return PreActResNet(
        depth=2 * len(model.blocks) + 2,
        width=model.stem.out_channels // model.members,
        in_channels=model.in_channels,
        classes=model.head.weight.shape[1],
        gamma=first.gamma,
    ).to(model.head.weight.device)


def _compact_member(member: PreActResNet) -> PreActResNet:
    member.blocks = nn.Sequential(*(CompactBlock(b) for b in member.blocks if isinstance(b, PreActBlock)))
    return member


def _nonzero_inputs(conv: nn.Conv2d) -> Tensor:
    return conv.weight.ne(0).any(dim=3).any(dim=2).any(dim=0)


def _kept(read: Tensor) -> Tensor:
    index = read.nonzero().flatten()
    return index if len(index) else index.new_zeros(1)


def _slice_conv(conv: nn.Conv2d, out: Tensor, inputs: Tensor) -> nn.Conv2d:
    kernel, stride, padding = conv.kernel_size, conv.stride, conv.padding
    small = nn.Conv2d(len(inputs), len(out), kernel, stride, padding, bias=False)  # type: ignore[arg-type]
    small.weight = nn.Parameter(conv.weight[out][:, inputs].clone())
    return small


def _slice_norm(norm: nn.BatchNorm2d, index: Tensor) -> nn.BatchNorm2d:
    small = nn.BatchNorm2d(len(index), eps=norm.eps).to(index.device)
    small.load_state_dict({k: v[index] if v.dim() else v for k, v in norm.state_dict().items()})
    return small


def _input_channels(model: nn.Module) -> int:
    """Input channels over all convolutions, a group's own counted for each group."""
    return sum(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
