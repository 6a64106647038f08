"""The training attack on a pre-activation network with its gradient written out instead of recorded.

Same attack as `rtune.robust.attacks.pgd.PGD` on the same network in evaluation mode. In a deployed network
normalisation is a scale and a shift, which the convolution before it can do with, and only the image's
gradient is asked for: autograd knows neither. What a layer is, forth and back, is left to subclasses.
"""

from abc import ABC, abstractmethod
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from rtune.robust.attacks.pgd import PGD
from rtune.robust.fast.cpu.layers import channels_last
from rtune.robust.models.resnet import PreActBlock, PreActNetwork


def fits(model: nn.Module, attack: PGD) -> TypeGuard[PreActNetwork]:
    """Whether this attack on this network, which is not compacted, can be such a chain."""
    return (
        isinstance(model, PreActNetwork)
        and all(isinstance(block.read, nn.Identity) for block in model.blocks)
        and attack.loss == "cross_entropy"
        and attack.restarts == attack.eot_draws == 1
    )


class ChainedPGD(ABC):
    """`PGD` on a network that `fits`; called in its place.

    The network's weights and statistics are read anew in each call, and its evaluation mode is taken for
    granted.

    Args:
        model: the network.
        attack: what is to be done.
    """

    def __init__(self, model: PreActNetwork, attack: PGD) -> None:
        self.attack = attack
        self.model = model
        self._blocks = [block for block in model.blocks if isinstance(block, PreActBlock)]
        # The normalisation that follows each block.
        self._following = [*(block.norm1 for block in self._blocks[1:]), model.norm]

    @torch.no_grad()
    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, as `PGD` gives them, in channels-last memory."""
        attack = self.attack
        start = images
        if attack.random_start:
            start = images + attack.epsilon * (2 * torch.rand_like(images) - 1)
            low, high = ((images + side * attack.epsilon).clamp_(0, 1) for side in (-1, 1))
            start = torch.clamp(start, low, high)
        self._read(images)
        images, adversarial = self._arranged(images), self._arranged(start)
        for step in range(attack.steps):
            self._step(adversarial, images, labels, step)
        return self._restored(adversarial)

    def _arranged(self, images: Tensor) -> Tensor:
        """A copy of images in the memory that the layers read."""
        return channels_last(images)

    def _restored(self, adversarial: Tensor) -> Tensor:
        """What was arranged, one image after the other in channels-last memory."""
        return adversarial

    def _step(self, adversarial: Tensor, images: Tensor, labels: Tensor, step: int) -> None:
        """One step of the attack, in place."""
        x, a = self._stem(adversarial, self._blocks[0].norm1)
        kept: list[tuple[Tensor, Tensor, Tensor, Any]] = []
        for salt, (block, norm) in enumerate(zip(self._blocks, self._following, strict=True)):
            middle = self._middle(a, block)
            skip = None
            if block.skip:
                skip = x if block.shortcut is None else self._shortcut(a, block.shortcut)
            entered, noise = a, None
            if block.noise.gamma == 0:
                x, a = self._join(middle, block.conv2, skip, norm)
                kept.append((entered, middle, x, noise))
            else:
                before = self._sum(middle, block.conv2, skip)
                x, a, noise = self._perturb(before, block, (step, salt), norm)
                kept.append((entered, middle, before, noise))
        grad = self._head(a, labels)
        for block, (entered, middle, before, noise) in zip(
            reversed(self._blocks), reversed(kept), strict=True
        ):
            if noise is not None:
                grad = self._through(grad, before, block, noise)
            inner = self._back_middle(grad, block, middle)
            extra = None if block.shortcut is None else self._back_shortcut(grad, block.shortcut, entered)
            skip = grad if block.skip and block.shortcut is None else None
            grad = self._back_block(inner, block, entered, extra, skip)
        self._move(adversarial, grad, images)

    @abstractmethod
    def _read(self, images: Tensor) -> None:
        """Takes down the weights, and each normalisation as a scale and a shift, for images of this shape."""

    @abstractmethod
    def _stem(self, images: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
        """What the first block is given, and that normalised and rectified."""

    @abstractmethod
    def _middle(self, a: Tensor, block: PreActBlock) -> Tensor:
        """The first convolution, normalised and rectified."""

    @abstractmethod
    def _shortcut(self, a: Tensor, layer: nn.Conv2d) -> Tensor: ...

    @abstractmethod
    def _sum(self, middle: Tensor, layer: nn.Conv2d, skip: Tensor | None) -> Tensor:
        """The second convolution, plus what skipped it."""

    @abstractmethod
    def _join(
        self, middle: Tensor, layer: nn.Conv2d, skip: Tensor | None, norm: nn.BatchNorm2d
    ) -> tuple[Tensor, Tensor]:
        """`_sum`, and that normalised and rectified."""

    @abstractmethod
    def _perturb(
        self, x: Tensor, block: PreActBlock, which: tuple[int, int], norm: nn.BatchNorm2d
    ) -> tuple[Tensor, Tensor, Any]:
        """x with noise, that normalised and rectified, and what `_through` needs to know of the noise.

        which: the attack's step and the block's number.
        """

    @abstractmethod
    def _head(self, a: Tensor, labels: Tensor) -> Tensor:
        """Gradient of the summed cross-entropy with respect to what the last normalisation is given."""

    @abstractmethod
    def _through(self, grad: Tensor, before: Tensor, block: PreActBlock, noise: Any) -> Tensor:
        """Gradient of what `_perturb` was given, from that of what it gave."""

    @abstractmethod
    def _back_middle(self, grad: Tensor, block: PreActBlock, middle: Tensor) -> Tensor:
        """Gradient of the first convolution's result, from that of the second's."""

    @abstractmethod
    def _back_shortcut(self, grad: Tensor, layer: nn.Conv2d, entered: Tensor) -> Tensor: ...

    @abstractmethod
    def _back_block(
        self, inner: Tensor, block: PreActBlock, entered: Tensor, extra: Tensor | None, skip: Tensor | None
    ) -> Tensor:
        """Gradient of what the block is given, from `_back_middle`.

        extra: the shortcut's share of the gradient of `entered`; skip: of what the block is given.
        """

    @abstractmethod
    def _move(self, adversarial: Tensor, grad: Tensor, images: Tensor) -> None:
        """Takes the stem's gradient and moves the adversarial images by it, in place."""
