"""Networks: ResNets, wide ResNets, networks without skip connections, MobileNet, and noisy ensembles of each.

Source: arXiv 2003.00631, section 2.
"""

from rtune.robust.models.mobilenet import MobileNet
from rtune.robust.models.parts import (
    Network,
    NoiseScale,
    add_noise,
    depends_on_batch,
    is_noisy,
    quiet,
    split_members,
)
from rtune.robust.models.resnet import DEPTHS, PlainNet, PreActResNet, WideResNet

__all__ = [
    "DEPTHS",
    "MobileNet",
    "Network",
    "NoiseScale",
    "PlainNet",
    "PreActResNet",
    "WideResNet",
    "add_noise",
    "depends_on_batch",
    "is_noisy",
    "quiet",
    "split_members",
]
