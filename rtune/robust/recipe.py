"""How to train: length, batches, and the learning rate (arXiv 2003.00631, section 4)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults are the paper's for CIFAR (section 4).

    Attributes:
        max_epochs: length of the whole training, which the learning-rate steps refer to.
        batch_size: images a batch, at most.
        lr: initial learning rate of SGD with Nesterov momentum.
        momentum: in (0, 1).
        weight_decay: at least 0; on all parameters.
        milestones: fractions of `max_epochs` at which the learning rate is divided by 10.
        crop_padding: see `rtune.robust.data.batches`.
        flip: likewise.
    """

    max_epochs: int = 200
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[float, ...] = (0.4, 0.6, 0.8)
    crop_padding: int = 4
    flip: bool = True

    def lr_at(self, epoch: int) -> float:
        """Learning rate of epoch `epoch`, counted from 0."""
        passed = sum(epoch >= round(fraction * self.max_epochs) for fraction in self.milestones)
        return self.lr * 0.1**passed
