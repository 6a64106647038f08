"""Augmentation: batches of an epoch in random order, randomly cropped and flipped."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from rtune.robust.data.split import Split, to_float


def batches(
    split: Split, size: int, generator: torch.Generator, crop_padding: int = 0, flip: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of augmented batches in random order: images (B, C, H, W) in [0, 1] and labels (B,).

    The images are distributed over ceil(N / size) batches whose sizes differ by at most one, so that no
    batch is too small for batch normalisation.

    Args:
        split: the images, on the device.
        size: largest number of images in a batch, at least 1.
        generator: on the split's device; the only source of randomness for order and augmentation.
        crop_padding: number of zero pixels added on each side before a random crop to the original size;
            0 for no crop.
        flip: whether each image is flipped horizontally with probability 1/2.
    """
    for index in epoch_order(split, size, generator):
        yield augmented(split, index, generator, crop_padding, flip)


def epoch_order(split: Split, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Indices of the images of each batch of an epoch; arguments as in `batches`."""
    order = torch.randperm(len(split), generator=generator, device=split.labels.device)
    return order.tensor_split(math.ceil(len(split) / size))


def augmented(
    split: Split, index: Tensor, generator: torch.Generator, crop_padding: int, flip: bool
) -> tuple[Tensor, Tensor]:
    """The augmented batch of the images at `index` (B,); other arguments and result as in `batches`."""
    images = split.images[index]
    if crop_padding:
        images = random_crop(images, crop_padding, generator)
    if flip:
        images = random_flip(images, generator)
    return to_float(images), split.labels[index]


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Each image (of N, C, H, W) padded by `padding` zeros and cropped to its size at a random offset."""
    n, channels, height, width = images.shape
    padded = F.pad(images, [padding] * 4)
    offsets = torch.randint(2 * padding + 1, (2, n, 1), generator=generator, device=images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    image = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image (of N, C, H, W) flipped horizontally with probability 1/2."""
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(mirrored, images.flip(3), images)
