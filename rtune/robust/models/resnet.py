"""Pre-activation networks for small images: PreActResNet, WideResNet, and without skip connections."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtune.robust.models.cutting import Select, channels_read, cut, cut_conv, cut_norm, indices
from rtune.robust.models.parts import EnsembleLinear, Network, Noise, NoiseScale, conv

DEPTHS = (20, 32, 38, 44, 56, 110)


class PreActNetwork(Network):
    """A 3x3 stem, three stages of pre-activation blocks, batch normalisation, ReLU, pooling, linear layer.

    The second and third stage halve height and width. Pre-activation: He et al., arXiv 1603.05027.

    Args:
        stages: number of channels of the three stages.
        blocks: number of blocks in each stage.
        skip: whether blocks have skip connections.
        members, gamma: as in `Network`.
        noise_scale: as `scale` in `add_noise`.
        **settings: the other arguments of the subclass; `width` is the number of channels of the stem.
    """

    stem: nn.Conv2d
    norm: nn.BatchNorm2d

    def __init__(
        self,
        stages: Sequence[int],
        blocks: int,
        skip: bool,
        members: int,
        gamma: float,
        noise_scale: NoiseScale = "batch",
        **settings: int,
    ) -> None:
        super().__init__(members=members, gamma=gamma, **settings)
        channels = settings["width"]
        self.stem = conv(self.in_channels, channels, 3, members)
        made = []
        for stage, out in enumerate(stages):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                made.append(PreActBlock(channels, out, stride, members, gamma, skip, noise_scale))
                channels = out
        self.blocks = nn.Sequential(*made)
        self.norm = nn.BatchNorm2d(members * channels)
        self.head = EnsembleLinear(channels, settings["classes"], members)

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.blocks(self.stem(x))))


class PreActResNet(PreActNetwork):
    """PreActResNet-n (He et al., arXiv 1603.05027) of k members; En_kResNet-n with `gamma` > 0.

    Three stages of (n - 2) / 6 blocks at 1, 2 and 4 times `width` channels (arXiv 2003.00631,
    section 2). En_kResNet: Wang et al., arXiv 1811.10745.

    Args:
        depth: n, one of `DEPTHS`.
        width: channels of the stem and of the first stage; 16 in the paper.
        in_channels, classes, members, gamma: as in `Network`.
        noise_scale: as `scale` in `add_noise`.

    Raises:
        ValueError: `depth` is not in `DEPTHS`, or a size is below 1, or `gamma` below 0.
    """

    skip = True

    def __init__(
        self,
        depth: int = 20,
        width: int = 16,
        in_channels: int = 3,
        classes: int = 10,
        members: int = 1,
        gamma: float = 0.0,
        noise_scale: NoiseScale = "batch",
    ) -> None:
        if depth not in DEPTHS:
            raise ValueError(f"depth is {depth}; it must be one of {DEPTHS}")
        super().__init__(
            stages=(width, 2 * width, 4 * width),
            blocks=(depth - 2) // 6,
            skip=self.skip,
            members=members,
            gamma=gamma,
            noise_scale=noise_scale,
            depth=depth,
            width=width,
            in_channels=in_channels,
            classes=classes,
        )


class PlainNet(PreActResNet):
    """A `PreActResNet` without skip connections: each block is only its residual branch.

    Arguments and errors as in `PreActResNet`. Ensembles of such networks are in arXiv 2003.00631.
    """

    skip = False


class WideResNet(PreActNetwork):
    """WideResNet-n-w (arXiv 1605.07146), without dropout; adversarial training commonly uses 34-10.

    A stem of `width` channels and three stages of (n - 4) / 6 blocks at 1, 2 and 4 times
    `widen` * `width` channels.

    Args:
        depth: n = 6 m + 4 for an integer m >= 1: the stem, 6 m convolutions and three 1x1 shortcuts.
        widen: w, the width relative to a ResNet.
        width: channels of the stem; 16 in the literature.
        in_channels, classes, members, gamma: as in `Network`.
        noise_scale: as `scale` in `add_noise`.

    Raises:
        ValueError: `depth` is not 6 m + 4, or a size is below 1, or `gamma` below 0.
    """

    def __init__(
        self,
        depth: int = 34,
        widen: int = 10,
        width: int = 16,
        in_channels: int = 3,
        classes: int = 10,
        members: int = 1,
        gamma: float = 0.0,
        noise_scale: NoiseScale = "batch",
    ) -> None:
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth is {depth}; it must be 6 m + 4, such as 10, 28, 34 or 40")
        wide = widen * width
        super().__init__(
            stages=(wide, 2 * wide, 4 * wide),
            blocks=(depth - 4) // 6,
            skip=True,
            members=members,
            gamma=gamma,
            noise_scale=noise_scale,
            depth=depth,
            widen=widen,
            width=width,
            in_channels=in_channels,
            classes=classes,
        )


class PreActBlock(nn.Module):
    """Twice batch normalisation, ReLU and 3x3 convolution, plus a shortcut, then noise.

    The shortcut is the identity; where the shape changes, it is a 1x1 convolution after the first ReLU.

    Args:
        channels, out: input and output channels of each member.
        stride: of the first convolution and of the shortcut.
        members, gamma: as in `Network`.
        skip: whether the block has a shortcut.
        noise_scale: as `scale` in `add_noise`.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        stride: int,
        members: int,
        gamma: float,
        skip: bool = True,
        noise_scale: NoiseScale = "batch",
    ) -> None:
        super().__init__()
        self.skip = skip
        self.read: nn.Module = nn.Identity()  # compaction replaces it by a selection of channels
        self.norm1 = nn.BatchNorm2d(members * channels)
        self.conv1 = conv(channels, out, 3, members, stride)
        self.norm2 = nn.BatchNorm2d(members * out)
        self.conv2 = conv(out, out, 3, members)
        changes = skip and (stride != 1 or channels != out)
        self.shortcut = conv(channels, out, 1, members, stride) if changes else None
        self.noise = Noise(gamma, members, noise_scale)

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.norm1(self.read(x)))
        out: Tensor = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        if self.skip:
            out = out + (x if self.shortcut is None else self.shortcut(activated))
        noisy: Tensor = self.noise(out)
        return noisy


@cut.register
def _cut(block: PreActBlock) -> None:
    """Removes input channels that neither the first convolution nor the 1x1 shortcut reads, and channels
    between the two convolutions that the second does not read.
    """
    readers = [block.conv1] if block.shortcut is None else [block.conv1, block.shortcut]
    inputs = indices(torch.stack([channels_read(layer) for layer in readers]).any(dim=0))
    middle = indices(channels_read(block.conv2))
    block.read = Select(inputs)
    block.norm1 = cut_norm(block.norm1, inputs)
    block.conv1 = cut_conv(block.conv1, block.conv1.weight[middle][:, inputs])
    block.norm2 = cut_norm(block.norm2, middle)
    block.conv2 = cut_conv(block.conv2, block.conv2.weight[:, middle])
    if block.shortcut is not None:
        block.shortcut = cut_conv(block.shortcut, block.shortcut.weight[:, inputs])
