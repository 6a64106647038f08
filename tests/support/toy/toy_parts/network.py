"""A network of rtune's blocks in another arrangement."""

from torch import Tensor, nn

from rtune.robust import Network
from rtune.robust.models.parts import EnsembleLinear, conv
from rtune.robust.models.resnet import PreActBlock


class TwoStage(Network):
    def __init__(
        self, width: int, blocks: int, in_channels: int, classes: int, members: int = 1, gamma: float = 0.0
    ):
        super().__init__(in_channels, classes, members, gamma, width=width, blocks=blocks)
        self.stem = conv(in_channels, width, 3, members)
        stages = [PreActBlock(width, width, 1, members, gamma) for _ in range(blocks)]
        stages += [PreActBlock(width, 2 * width, 2, members, gamma)]
        self.blocks = nn.Sequential(*stages)
        self.head = EnsembleLinear(2 * width, classes, members)

    def features(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x)).relu()
