"""Accuracies of a network, ordinary or noisy."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rtune.robust.attacks.pgd import Attack
from rtune.robust.data import Split, to_float


@dataclass(frozen=True)
class Measurement:
    """An accuracy and what is known of its spread.

    Attributes:
        accuracy: mean over noise draws of the fraction of images classified rightly, in [0, 1].
        accuracy_std: standard deviation over the draws (n - 1); 0 for a single draw.
        draws: noise draws.
        images: number of images.
    """

    accuracy: float
    accuracy_std: float
    draws: int
    images: int

    @classmethod
    def of(cls, right: Tensor) -> "Measurement":
        """From the outcomes (draws, N) that `outcomes` gives."""
        by_draw = right.double().mean(dim=1)
        std = by_draw.std().item() if len(by_draw) > 1 else 0.0
        return cls(by_draw.mean().item(), std, *right.shape)


def accuracy(model: nn.Module, split: Split, attack: Attack | None = None, batch_size: int = 512) -> float:
    """Fraction of images classified rightly, in [0, 1]; under `attack` if one is given.

    Arguments as for `outcomes`. A noisy network is asked once: seed torch before the call for a
    repeatable figure.
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
    """Which images are classified rightly, draw by draw: bool (draws, N).

    An adversarial image is made once and then classified `draws` times. The model is put in
    evaluation mode for the call; a noisy network stays noisy.

    Args:
        model: maps images (N, C, H, W) in [0, 1] to logits.
        split: images on the model's device.
        attack: `attack(model, images, labels) -> adversarial images`.
        draws: how often each image is classified, at least 1; more than 1 for noisy networks.
        batch_size: images at a time.
        on_batch: called with the number of images of each batch that is done.
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
    """Which images are classified rightly: bool (N,)."""
    return logits.argmax(dim=1) == labels


def check_classes(model: nn.Module, split: Split) -> None:
    """Raises ValueError unless the network takes the split's images and knows all its classes."""
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
