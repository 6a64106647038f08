"""Gradient attacks in the l-infinity ball; training and evaluation use the same code."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class PGD:
    """k signed gradient steps on the cross-entropy, kept in the epsilon-ball and in [0, 1].

    With a random start it is PGD-k (Madry et al., arXiv 1706.06083); without one IFGSM-k
    (Kurakin et al., arXiv 1607.02533), the paper's attack for A3. `fgsm` is the one-step case.

    Attributes:
        epsilon: radius of the ball, in pixel units of images in [0, 1]; above 0.
        step_size: alpha, the length of one step, in the same units; above 0.
        steps: k, at least 1.
        random_start: start from a uniform point of the ball instead of the image itself.
    """

    epsilon: float
    step_size: float
    steps: int
    random_start: bool = True

    def __post_init__(self) -> None:
        if not self.epsilon > 0 or not self.step_size > 0:
            raise ValueError(
                f"epsilon is {self.epsilon} and step_size {self.step_size}; both must be above 0"
            )
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be at least 1")

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images.

        The model is used in the mode it is in. Its gradients and, in training mode, its running
        statistics are its own business: parameters' `.grad` is never touched.

        Args:
            model: maps images to logits (N, classes).
            images: (N, C, H, W) in [0, 1].
            labels: (N,) int64, the true classes.
        """
        low = (images - self.epsilon).clamp_(0, 1)
        high = (images + self.epsilon).clamp_(0, 1)
        adversarial = images.detach()
        if self.random_start:
            adversarial = adversarial + self.epsilon * (2 * torch.rand_like(images) - 1)
            adversarial = torch.clamp(adversarial, low, high)
        for _ in range(self.steps):
            adversarial.requires_grad_(True)
            with torch.enable_grad():
                loss = F.cross_entropy(model(adversarial), labels, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, adversarial)
            step = self.step_size * gradient.sign()
            adversarial = torch.clamp(adversarial.detach() + step, low, high)
        return adversarial


def fgsm(epsilon: float) -> PGD:
    """FGSM (Goodfellow et al., arXiv 1412.6572): one step of length epsilon; the paper's A2."""
    return PGD(epsilon, step_size=epsilon, steps=1, random_start=False)


def ifgsm(epsilon: float, step_size: float, steps: int) -> PGD:
    """IFGSM-k: PGD without a random start; the paper's A3 is k = 20 at step_size 2/255."""
    return PGD(epsilon, step_size, steps, random_start=False)
