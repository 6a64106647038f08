"""MobileNetV1 for small images, alone or as a noisy ensemble."""

from torch import Tensor, nn
from torch.nn import functional as F

from rtune.robust.models.cutting import Select, channels_read, cut, cut_conv, cut_norm, indices
from rtune.robust.models.parts import EnsembleLinear, Network, Noise, NoiseScale, conv

# (channels in units of `width`, stride) of the blocks: 64, 128, ..., 1024 at width 16.
BLOCKS = ((4, 1), (8, 2), (8, 1), (16, 2), (16, 1), (32, 2), *5 * [(32, 1)], (64, 2), (64, 1))


class MobileNet(Network):
    """MobileNetV1 (arXiv 1704.04861) of k members, with noise after each block if `gamma` > 0.

    A 3x3 stem, 13 depthwise-separable blocks, average pooling and a linear layer. The stem keeps the size of
    the image; in the original, for images of 224 pixels, it halves the size.

    Args:
        width: half the number of channels of the stem, 16 in the original; all layers scale with it.
        in_channels, classes, members, gamma: as in `Network`.
        noise_scale: as `scale` in `add_noise`.

    Raises:
        ValueError: a size is below 1, or `gamma` below 0.
    """

    def __init__(
        self,
        width: int = 16,
        in_channels: int = 3,
        classes: int = 10,
        members: int = 1,
        gamma: float = 0.0,
        noise_scale: NoiseScale = "batch",
    ) -> None:
        super().__init__(in_channels, classes, members, gamma, width=width)
        channels = 2 * width
        self.stem = conv(in_channels, channels, 3, members)
        self.norm = nn.BatchNorm2d(members * channels)
        made = []
        for units, stride in BLOCKS:
            made.append(SeparableBlock(channels, units * width, stride, members, gamma, noise_scale))
            channels = units * width
        self.blocks = nn.Sequential(*made)
        self.head = EnsembleLinear(channels, classes, members)

    def features(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(F.relu(self.norm(self.stem(x))))
        return out


class SeparableBlock(nn.Module):
    """A 3x3 depthwise convolution and a 1x1 convolution, each followed by batch normalisation and ReLU.

    Args:
        channels, out: input and output channels of each member.
        stride: of the depthwise convolution.
        members, gamma: as in `Network`.
        noise_scale: as `scale` in `add_noise`.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        stride: int,
        members: int,
        gamma: float,
        noise_scale: NoiseScale = "batch",
    ) -> None:
        super().__init__()
        self.read: nn.Module = nn.Identity()  # compaction replaces it by a selection of channels
        self.depthwise = conv(1, 1, 3, members * channels, stride)
        self.norm1 = nn.BatchNorm2d(members * channels)
        self.pointwise = conv(channels, out, 1, members)
        self.norm2 = nn.BatchNorm2d(members * out)
        self.noise = Noise(gamma, members, noise_scale)

    def forward(self, x: Tensor) -> Tensor:
        filtered = F.relu(self.norm1(self.depthwise(self.read(x))))
        noisy: Tensor = self.noise(F.relu(self.norm2(self.pointwise(filtered))))
        return noisy


@cut.register
def _cut(block: SeparableBlock) -> None:
    """Removes channels that the 1x1 convolution does not read, and those whose depthwise filter is zero.

    After a zero filter the channel has the same value everywhere: ReLU(BN(0)). The 1x1 convolution adds a
    multiple of this constant to its outputs, so the constant is moved into the running mean of the batch
    normalisation that follows.
    """
    filters = block.depthwise.weight
    kept = indices(channels_read(block.pointwise) & filters.ne(0).flatten(1).any(dim=1))
    constant = F.relu(block.norm1(filters.new_zeros(1, len(filters), 1, 1)))
    constant[:, kept] = 0
    mean = block.norm2.running_mean
    assert mean is not None
    mean -= block.pointwise(constant).flatten()
    block.read = Select(kept)
    block.depthwise = cut_conv(block.depthwise, filters[kept], groups=len(kept))
    block.norm1 = cut_norm(block.norm1, kept)
    block.pointwise = cut_conv(block.pointwise, block.pointwise.weight[:, kept])
