"""Accuracies of a network."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rtune.robust.data import Split, to_float

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]


def accuracy(model: nn.Module, split: Split, attack: Attack | None = None, batch_size: int = 512) -> float:
    """Fraction of images classified rightly, in [0, 1]; under `attack` if one is given.

    The model is put in evaluation mode for the call. A noisy network stays noisy: seed torch
    before the call for a repeatable figure.

    Args:
        model: maps images (N, C, H, W) in [0, 1] to logits.
        split: images on the model's device.
        attack: `attack(model, images, labels) -> adversarial images`.
        batch_size: images at a time.
    """
    mode = model.training
    model.eval()
    correct = torch.zeros((), dtype=torch.int64, device=split.labels.device)
    for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True):
        inputs = to_float(images)
        if attack is not None:
            inputs = attack(model, inputs, labels)
        with torch.no_grad():
            correct += (model(inputs).argmax(dim=1) == labels).sum()
    model.train(mode)
    return correct.item() / len(split)
