"""Images and labels, kept as uint8 on the device."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) uint8 and labels (N,) int64, on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))

    def every(self, step: int) -> "Split":
        """The first image and each `step`-th from there."""
        return Split(self.images[::step], self.labels[::step])


def to_float(images: Tensor) -> Tensor:
    """uint8 pixels as float32 in [0, 1], same shape; not standardised, so that epsilon is in pixel units."""
    return images.float().div_(255)
