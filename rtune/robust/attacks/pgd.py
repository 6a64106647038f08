"""Gradient attacks; training and evaluation use the same code.

Every attack is called as `attack(model, images, labels) -> adversarial images` and leaves `images` as
they are. The model is used in the mode it is in; in training mode each forward pass moves its running
statistics. The `.grad` of its parameters is not changed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rtune.robust.losses import AttackCrossEntropy, AttackLoss, Margin, margin

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class PGD:
    """k signed gradient steps, kept in the l-infinity ball of radius epsilon and in [0, 1].

    With a random start it is PGD-k (Madry et al., arXiv 1706.06083); without one IFGSM-k
    (Kurakin et al., arXiv 1607.02533), the paper's attack for A3; `fgsm` is the one-step case. On
    the loss `Margin` it is Carlini and Wagner's attack (arXiv 1608.04644) in the l-infinity form of
    this literature.

    Attributes:
        epsilon: radius of the ball, in pixel units of images in [0, 1]; above 0.
        step_size: alpha, the length of one step, in the same units; above 0.
        steps: k, at least 1.
        random_start: start from a uniform point of the ball instead of the image itself.
        restarts: tries from different random starts; of each image the one with the largest
            margin is returned. More than 1 needs `random_start`.
        eot_draws: noise draws over which each gradient is averaged (expectation over
            transformation, Athalye et al., arXiv 1707.07397); more than 1 for noisy networks.
        loss: what is maximised; see `AttackLoss`.
    """

    epsilon: float
    step_size: float
    steps: int
    random_start: bool = True
    restarts: int = 1
    eot_draws: int = 1
    loss: AttackLoss = AttackCrossEntropy()

    def __post_init__(self) -> None:
        if not self.epsilon > 0 or not self.step_size > 0:
            raise ValueError(
                f"epsilon is {self.epsilon} and step_size {self.step_size}; both must be above 0"
            )
        at_least_one(steps=self.steps, restarts=self.restarts, eot_draws=self.eot_draws)
        if self.restarts > 1 and not self.random_start:
            raise ValueError(f"restarts is {self.restarts}; without a random start it must be 1")

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images.

        Args:
            model: maps images to logits (N, classes).
            images: (N, C, H, W) in [0, 1].
            labels: (N,) int64, the true classes.
        """
        clean = None
        if self.loss.needs_clean:
            with torch.no_grad():
                clean = model(images)
        best = self._attempt(model, images, labels, clean)
        if self.restarts == 1:
            return best
        best_margin = mean_margin(model, best, labels, self.eot_draws)
        for _ in range(self.restarts - 1):
            tried = self._attempt(model, images, labels, clean)
            tried_margin = mean_margin(model, tried, labels, self.eot_draws)
            better = tried_margin > best_margin
            best = torch.where(better.view(-1, 1, 1, 1), tried, best)
            best_margin = torch.where(better, tried_margin, best_margin)
        return best

    def _attempt(self, model: nn.Module, images: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        """One run of k steps from one start."""
        low = (images - self.epsilon).clamp_(0, 1)
        high = (images + self.epsilon).clamp_(0, 1)
        adversarial = images.detach()
        if self.random_start:
            adversarial = adversarial + self.epsilon * (2 * torch.rand_like(images) - 1)
            adversarial = torch.clamp(adversarial, low, high)
        for _ in range(self.steps):
            gradient = input_gradient(model, adversarial, labels, self.loss, self.eot_draws, clean)
            adversarial = torch.clamp(adversarial + self.step_size * gradient.sign(), low, high)
        return adversarial


def fgsm(epsilon: float, eot_draws: int = 1) -> PGD:
    """FGSM (Goodfellow et al., arXiv 1412.6572): one step of length epsilon; the paper's A2."""
    return PGD(epsilon, step_size=epsilon, steps=1, random_start=False, eot_draws=eot_draws)


def ifgsm(epsilon: float, step_size: float, steps: int, eot_draws: int = 1) -> PGD:
    """IFGSM-k (Kurakin et al., arXiv 1607.02533): PGD without a random start.

    The paper's A3 is k = 20 at step_size 2/255.
    """
    return PGD(epsilon, step_size, steps, random_start=False, eot_draws=eot_draws)


def cw(epsilon: float, step_size: float, steps: int, restarts: int = 1, eot_draws: int = 1) -> PGD:
    """Carlini and Wagner's loss (arXiv 1608.04644) in the l-infinity ball: PGD-k on the margin.

    The form in which the literature on adversarial training reports "C&W" (Madry et al., arXiv
    1706.06083, section 5); it stands for the paper's A4. The original l2 attack is
    `rtune.robust.attacks.carlini.CarliniL2`.
    """
    return PGD(epsilon, step_size, steps, True, restarts, eot_draws, Margin())


@torch.no_grad()
def mean_margin(model: nn.Module, images: Tensor, labels: Tensor, draws: int) -> Tensor:
    """(N,) margins, each the mean over `draws` passes of a network that may be noisy."""
    return torch.stack([margin(model(images), labels) for _ in range(draws)]).mean(dim=0)


def input_gradient(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    loss: AttackLoss = AttackCrossEntropy(),
    eot_draws: int = 1,
    clean: Tensor | None = None,
) -> Tensor:
    """Gradient (N, C, H, W) of each image's loss, summed over `eot_draws` noise draws.

    clean: see `AttackLoss`.
    """
    total: Tensor | None = None
    images = images.detach()
    for _ in range(eot_draws):
        images.requires_grad_(True)
        with torch.enable_grad():
            value = loss(model(images), labels, clean).sum()
            (gradient,) = torch.autograd.grad(value, images)
        images = images.detach()
        total = gradient if total is None else total + gradient
    assert total is not None
    return total


def at_least_one(**counts: int) -> None:
    """Raises ValueError for the first count below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}; it must be at least 1")
