"""Losses that a gradient attack maximises, one value per image."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class AttackLoss(Protocol):
    """What `PGD` maximises. Must be hashable, as `PGD` is."""

    @property
    def needs_clean(self) -> bool:
        """Whether the logits of the unattacked images are wanted; they cost a forward pass per attack."""

    def __call__(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        """Losses (N,), differentiable in `logits`.

        Args:
            logits: (N, classes) of the images as attacked so far.
            labels: (N,) int64, the true classes.
            clean: logits (N, classes) of the unattacked images, without a gradient and computed once
                per attack; None unless `needs_clean`.
        """


@dataclass(frozen=True)
class AttackCrossEntropy:
    """Cross-entropy of the true class (Goodfellow et al., arXiv 1412.6572)."""

    needs_clean: ClassVar[bool] = False

    def __call__(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        """Losses (N,); see `AttackLoss`."""
        return F.cross_entropy(logits, labels, reduction="none")


@dataclass(frozen=True)
class Margin:
    """Carlini and Wagner's loss; see `margin`."""

    needs_clean: ClassVar[bool] = False

    def __call__(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        """Losses (N,); see `AttackLoss`."""
        return margin(logits, labels)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """max over j != y of z_j, minus z_y: above 0 where the network is fooled.

    The loss f of Carlini and Wagner (arXiv 1608.04644, f_6) with its sign turned and without its
    floor, so that a gradient never vanishes.

    Args:
        logits: (N, classes).
        labels: (N,) int64.

    Returns:
        (N,) margins.
    """
    index = labels.unsqueeze(1)
    own = logits.gather(1, index).squeeze(1)
    return logits.scatter(1, index, -torch.inf).amax(dim=1) - own
