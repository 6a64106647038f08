"""Pre-activation residual networks for small images, alone or as a noisy ensemble.

An ensemble is one network whose tensors carry every member side by side: its convolutions are
grouped, one group a member, so that k members cost one Python call a layer instead of k.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DEPTHS = (20, 32, 38, 44, 56, 110)


class PreActResNet(nn.Module):
    """PreActResNet-n of k members; with `gamma` > 0 it is the paper's En_kResNet-n.

    A 3x3 stem, three stages of (n - 2) / 6 pre-activation blocks at 1, 2 and 4 times `width`
    channels, then BN-ReLU, average pooling and a linear layer. Members see the same image, share
    nothing, and their logits are averaged (arXiv 2003.00631, section 2).

    Args:
        depth: n, one of `DEPTHS`.
        width: channels of the stem and of the first stage; 16 in the paper.
        in_channels: channels of the images.
        classes: number of classes.
        members: k, the size of the ensemble.
        gamma: strength of the noise after each residual block; 0 for an ordinary network.

    Raises:
        ValueError: `depth` is none of `DEPTHS`, or a size is below 1, or `gamma` below 0.
    """

    def __init__(
        self,
        depth: int = 20,
        width: int = 16,
        in_channels: int = 3,
        classes: int = 10,
        members: int = 1,
        gamma: float = 0.0,
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth is {depth}; it must be one of {DEPTHS}")
        if min(width, in_channels, classes, members) < 1 or gamma < 0:
            raise ValueError("width, in_channels, classes and members must be at least 1, gamma at least 0")
        self.in_channels = in_channels
        self.members = members
        self.stem = _conv(in_channels, width, 3, members)
        channels = width
        blocks = []
        for stage in range(3):
            for block in range((depth - 2) // 6):
                out = width * 2**stage
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(PreActBlock(channels, out, stride, members, gamma))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(members * channels)
        self.head = EnsembleLinear(channels, classes, members)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, in_channels, H, W) with pixels in [0, 1]."""
        x = self.stem(images.repeat(1, self.members, 1, 1) if self.members > 1 else images)
        x = F.relu(self.norm(self.blocks(x)))
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


class PreActBlock(nn.Module):
    """BN-ReLU-conv twice, plus a shortcut (1x1 convolution of the first BN-ReLU where shapes change)."""

    def __init__(self, channels: int, out: int, stride: int, members: int, gamma: float) -> None:
        super().__init__()
        self.members = members
        self.gamma = gamma
        self.norm1 = nn.BatchNorm2d(members * channels)
        self.conv1 = _conv(channels, out, 3, members, stride)
        self.norm2 = nn.BatchNorm2d(members * out)
        self.conv2 = _conv(out, out, 3, members)
        changes = stride != 1 or channels != out
        self.shortcut = _conv(channels, out, 1, members, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.norm1(x))
        residual = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        x = residual + (x if self.shortcut is None else self.shortcut(activated))
        return x if self.gamma == 0 else add_noise(x, self.gamma, self.members)


class EnsembleLinear(nn.Module):
    """One linear layer a member on its own features, logits averaged over the members."""

    def __init__(self, features: int, classes: int, members: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(features)
        self.weight = nn.Parameter(torch.empty(members, classes, features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, classes).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        members, classes, features = self.weight.shape
        if members == 1:
            return F.linear(x, self.weight[0], self.bias[0])
        flat = self.weight.transpose(0, 1).reshape(classes, members * features)
        return F.linear(x, flat) / members + self.bias.mean(dim=0)


def add_noise(x: Tensor, gamma: float, members: int) -> Tensor:
    """x + gamma * std(x) * N(0, 1), std over each member's whole tensor (section 2.2).

    x: (N, members * C, H, W). The noise is on in training and in evaluation.
    """
    if members == 1:
        return x + gamma * x.std() * torch.randn_like(x)
    parts = x.unflatten(1, (members, -1))
    std = parts.std(dim=(0, 2, 3, 4), keepdim=True)
    noisy: Tensor = parts + gamma * std * torch.randn_like(parts)
    return noisy.flatten(1, 2)


def _conv(channels: int, out: int, kernel: int, members: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(
        members * channels,
        members * out,
        kernel,
        stride=stride,
        padding=kernel // 2,
        groups=members,
        bias=False,
    )
    # He-normal by the fan-out of one member; torch's own initialiser would count every group.
    nn.init.normal_(conv.weight, std=math.sqrt(2 / (out * kernel * kernel)))
    return conv
