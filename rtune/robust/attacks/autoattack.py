"""AutoAttack (Croce and Hein, arXiv 2003.01690), from the optional package pyautoattack."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rtune.robust.data import Split, to_float
from rtune.robust.models import is_noisy


def version_for(model: nn.Module) -> str:
    """`rand` (expectation over 20 noise draws) for a noisy network, else `standard`."""
    return "rand" if is_noisy(model) else "standard"


def autoattack_outcomes(
    model: nn.Module,
    split: Split,
    epsilon: float,
    seed: int = 0,
    batch_size: int = 512,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[Tensor, list[str]]:
    """Which images no attack of the ensemble fools, in AutoAttack's own count.

    An image counts as fooled if any attack fooled it once, a wrong answer without attack included;
    for a noisy network that is harder on it than one more pass over the adversarial images.

    Args:
        model: a network with at least 10 classes (the standard version has nine targets), 4 if noisy.
        split: images on its device.
        epsilon: l-infinity radius, in pixel units.
        seed: of the attacks; the global generators are reseeded: call it inside `seeded`.
        batch_size: images at a time.
        on_batch: called with the number of images of each batch that is done.

    Returns:
        bool (1, N), and AutoAttack's own warnings.

    Raises:
        ModuleNotFoundError: pyautoattack is not installed (`pip install 'rtune[autoattack]'`).
    """
    from pyautoattack import AutoAttack

    mode = model.training
    model.eval()
    warnings = _Warnings()
    logger = logging.getLogger("auto-attack")
    logger.addHandler(warnings)
    logger.propagate = False
    parts = []
    try:
        attack = AutoAttack(
            model, norm="Linf", eps=epsilon, seed=seed, version=version_for(model), device=split.labels.device
        )
        for images, labels in zip(
            split.images.split(batch_size), split.labels.split(batch_size), strict=True
        ):
            _, answers = attack.run_standard_evaluation(to_float(images), labels, batch_size=batch_size)
            parts.append(answers == labels)
            if on_batch is not None:
                on_batch(len(labels))
    finally:
        logger.removeHandler(warnings)
        model.train(mode)
    return torch.cat(parts).unsqueeze(0), warnings.messages


class _Warnings(logging.Handler):
    """Keeps each warning once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self.messages:
            self.messages.append(message)
