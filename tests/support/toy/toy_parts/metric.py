"""The l1 norm of all convolution weights: without an upper bound, and better when small."""

from torch import nn

from rtune.worker.measures import Measured


def weight_norm(measured: Measured) -> float:
    convolutions = [m for m in measured.model.modules() if isinstance(m, nn.Conv2d)]
    return float(sum(m.weight.detach().abs().sum() for m in convolutions))
