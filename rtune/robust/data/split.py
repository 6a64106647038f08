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

    def part(self, step: int, stratified: bool = True) -> "Split":
        """One image of `step`, always the same ones, in the same order.

        Args:
            step: at least 1; 1 gives all images.
            stratified: whether the part has 1 / `step` of the images of each class, rounded up or down.
                If not, it is the first image and each `step`-th from there.
        """
        if step == 1:
            return self
        if not stratified:
            return Split(self.images[::step], self.labels[::step])
        index = self.labels.argsort(stable=True)[::step].sort().values
        return Split(self.images[index], self.labels[index])


def to_float(images: Tensor) -> Tensor:
    """uint8 pixels as float32 in [0, 1], same shape; not standardised, so that epsilon is in pixel units."""
    return images.float().div_(255)
