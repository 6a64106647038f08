"""Networks of the method (arXiv 2003.00631, section 2)."""

from rtune.robust.models.resnet import DEPTHS, PreActResNet, add_noise

__all__ = ["DEPTHS", "PreActResNet", "add_noise"]
