"""Gradient attacks: each is called as `attack(model, images, labels) -> adversarial images`."""

from rtune.robust.attacks.carlini import CarliniL2
from rtune.robust.attacks.pgd import PGD, Attack, cw, fgsm, ifgsm

__all__ = ["PGD", "Attack", "CarliniL2", "cw", "fgsm", "ifgsm", "natural"]


def natural() -> None:
    """No attack at all."""
