"""Natural and robust accuracy of a network, with or without noise."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rtune.robust.attacks.pgd import Attack
from rtune.robust.data import Split, to_float


@dataclass(frozen=True)
class Measurement:
    """An accuracy and its standard deviation over noise draws.

    Attributes:
        accuracy: fraction of images that are classified correctly, in [0, 1]; mean over the noise draws.
        accuracy_std: standard deviation over the draws (with n - 1); 0 for one draw.
        draws: number of noise draws.
        images: number of images.
    """

    accuracy: float
    accuracy_std: float
    draws: int
    images: int

    @classmethod
    def of(cls, right: Tensor) -> "Measurement":
        """The measurement of the outcomes (draws, N), bool, that `outcomes` returns."""
        by_draw = right.double().mean(dim=1)
        std = by_draw.std().item() if len(by_draw) > 1 else 0.0
        return cls(by_draw.mean().item(), std, *right.shape)


def accuracy(model: nn.Module, split: Split, attack: Attack | None = None, batch_size: int = 512) -> float:
    """Fraction of images that are classified correctly, in [0, 1]; under `attack` if one is given.

    The arguments are those of `outcomes`. A noisy network classifies each image once: seed torch before the
    call to get the same result again.
    """
    return outcomes(model, split, attack, batch_size=batch_size).double().mean().item()


def outcomes(
    model: nn.Module,
    split: Split,
    attack: Attack | None = None,
    draws: int = 1,
    batch_size: int = 512,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """Whether each image is classified correctly in each noise draw: bool (draws, N).

    Each adversarial image is computed once and then classified `draws` times. The model is in evaluation
    mode during the call; the noise of a noisy network stays on.

    Args:
        model: maps images (N, C, H, W) in [0, 1] to logits.
        split: images on the model's device.
        attack: `attack(model, images, labels) -> adversarial images`.
        draws: how often each image is classified, at least 1; more than 1 for noisy networks.
        batch_size: number of images in a batch.
        on_batch: called after each batch with its number of images.
    """
    mode = model.training
    model.eval()
    parts = []
    try:
        for images, labels in zip(
            split.images.split(batch_size), split.labels.split(batch_size), strict=True
        ):
            inputs = to_float(images)
            if attack is not None:
                inputs = attack(model, inputs, labels)
            with torch.no_grad():
                parts.append(torch.stack([right(model(inputs), labels) for _ in range(draws)]))
            if on_batch is not None:
                on_batch(len(labels))
    finally:
        model.train(mode)
    return torch.cat(parts, dim=1)


def right(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each image is classified correctly: logits (N, classes) and labels (N,) -> bool (N,)."""
    return logits.argmax(dim=1) == labels


def check_classes(model: nn.Module, split: Split) -> None:
    """Raises ValueError unless the network accepts the split's images and has an output for each label."""
    mode = model.training
    try:
        with torch.no_grad():
            classes = model.eval()(to_float(split.images[:2])).shape[1]
    except RuntimeError as error:
        shape = tuple(split.images.shape[1:])
        raise ValueError(f"the network does not take images of shape {shape}: {error}") from None
    finally:
        model.train(mode)
    top = int(split.labels.max())
    if top >= classes:
        raise ValueError(f"the network has {classes} classes, but a label is {top}")
