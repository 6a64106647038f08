"""Carlini and Wagner's l2 attack: the least perturbation that fools (arXiv 1608.04644, section VI)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rtune.robust.attacks.pgd import at_least_one
from rtune.robust.losses import margin
from rtune.robust.models import is_noisy

# Pixels are kept this far inside [0, 1] before arctanh, which is infinite at the ends.
_INSIDE = 1 - 1e-6


@dataclass(frozen=True)
class CarliniL2:
    """Minimises |delta|_2^2 + c * max(-margin, -confidence) by Adam; a search finds c for each image.

    Carlini and Wagner, arXiv 1608.04644, section VI. An image x is written as (tanh(w) + 1) / 2, so
    that every w is an image. c starts at `initial_constant`; it is multiplied by 10 until the network
    is fooled, then bisected. Only for networks without noise: the nearest image that ever fooled a
    noisy one would be a matter of luck.

    Attributes:
        epsilon: l2 radius, in pixel units, above 0: a longer perturbation is cut to it, so that the
            accuracy on the images returned is the robust accuracy in that ball. With `infinity`
            nothing is cut. Where nothing fooled the network, the image itself is returned.
        steps: iterations for each c, at least 1.
        search_steps: values of c tried, at least 1.
        learning_rate: Adam's, above 0. Black and white pixels start far out, where tanh is flat:
            small rates leave them there.
        initial_constant: first c, above 0.
        confidence: margin by which the other class must win, at least 0.
    """

    epsilon: float
    steps: int = 200
    search_steps: int = 6
    learning_rate: float = 0.1
    initial_constant: float = 0.1
    confidence: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epsilon", "learning_rate", "initial_constant"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not self.confidence >= 0:
            raise ValueError(f"confidence is {self.confidence}; it must be at least 0")
        at_least_one(steps=self.steps, search_steps=self.search_steps)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images (N, C, H, W), each within `epsilon` of its image.

        Raises:
            ValueError: the network is noisy.
        """
        if is_noisy(model):
            raise ValueError(
                "a noisy network has no least perturbation; attack it with cw, averaged over draws"
            )
        images = images.detach()
        start = torch.atanh((2 * images - 1) * _INSIDE)
        constant = torch.full_like(images[:, 0, 0, 0], self.initial_constant)
        low, high = torch.zeros_like(constant), torch.full_like(constant, torch.inf)
        best = images.clone()
        distance = torch.full_like(constant, torch.inf)
        for _ in range(self.search_steps):
            found, length = self._descend(model, images, labels, start, constant)
            nearer = length < distance
            best = torch.where(nearer.view(-1, 1, 1, 1), found, best)
            distance = torch.where(nearer, length, distance)
            fooled = length.isfinite()
            high = torch.where(fooled, torch.minimum(high, constant), high)
            low = torch.where(fooled, low, torch.maximum(low, constant))
            constant = torch.where(high.isfinite(), (low + high) / 2, constant * 10)
        scale = torch.where(distance <= self.epsilon, 1.0, self.epsilon / distance)
        return images + scale.view(-1, 1, 1, 1) * (best - images)

    def _descend(
        self, model: nn.Module, images: Tensor, labels: Tensor, start: Tensor, constant: Tensor
    ) -> tuple[Tensor, Tensor]:
        """For one c an image: the nearest fooling image met, and its l2 distance (infinite if none)."""
        w = start.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([w], lr=self.learning_rate)
        best = images.clone()
        distance = torch.full_like(constant, torch.inf)
        for _ in range(self.steps):
            with torch.enable_grad():
                adversarial = (torch.tanh(w) + 1) / 2
                gain = margin(model(adversarial), labels)
                square = (adversarial - images).square().sum(dim=(1, 2, 3))
                hinge = (self.confidence - gain).clamp_min(0)
                (w.grad,) = torch.autograd.grad((square + constant * hinge).sum(), w)
            length = square.detach().sqrt()
            nearer = (gain.detach() > self.confidence) & (length < distance)
            best = torch.where(nearer.view(-1, 1, 1, 1), adversarial.detach(), best)
            distance = torch.where(nearer, length, distance)
            optimizer.step()
        return best, distance
