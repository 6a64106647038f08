"""Every pixel moves by a share of epsilon, up or down at random."""

import torch
from torch import Tensor, nn


class Noise:
    def __init__(self, epsilon: float, random_start: bool, loss: object, share: float):
        self.length = epsilon * share

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return (images + self.length * torch.randn_like(images).sign()).clamp(0, 1)
