"""Cross-entropy with smoothed labels."""

from torch import Tensor, nn
from torch.nn import functional as F


class Smoothed:
    def __init__(self, smoothing: float):
        self.smoothing = smoothing

    def __call__(self, model: nn.Module, natural: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(model(adversarial), labels, label_smoothing=self.smoothing)
