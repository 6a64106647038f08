"""The training attack on a pre-activation network, with its gradient written out layer by layer.

Same attack as `rtune.robust.attacks.pgd.PGD` on the same network in evaluation mode. There a normalisation
is a scale and a shift, which can be part of the convolution before it, and only the image's gradient is
needed; autograd uses neither fact. Subclasses compute each layer, forward and backward.
"""

from abc import ABC, abstractmethod
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from rtune.robust.attacks.pgd import PGD
from rtune.robust.fast.cpu.layers import channels_last
from rtune.robust.losses import AttackCrossEntropy
from rtune.robust.models import Network
from rtune.robust.models.resnet import PreActBlock, PreActNetwork


def fits(model: nn.Module, attack: PGD) -> TypeGuard[PreActNetwork]:
    """Whether `ChainedPGD` computes this attack on this network, which may be anybody's subclass."""
    return (
        isinstance(model, PreActNetwork)
        and _is_chain(model)
        and attack.loss == AttackCrossEntropy()
        and attack.restarts == attack.eot_draws == 1
    )


def _is_chain(model: PreActNetwork) -> bool:
    """Whether the network's layers and their order are a `PreActNetwork`'s own, and none is compacted."""
    stem, kind = model.stem, type(model)
    return (
        kind.forward is Network.forward
        and kind.features is PreActNetwork.features
        and (stem.kernel_size, stem.stride, stem.padding) == ((3, 3), (1, 1), (1, 1))
        and all(type(block) is PreActBlock and type(block.read) is nn.Identity for block in model.blocks)
    )


class ChainedPGD(ABC):
    """`PGD` (see there for its source) on a network that `fits`; called in its place.

    Each call reads the network's weights and statistics again, and computes it in evaluation mode
    whatever its mode is.

    Args:
        model: the network.
        attack: the attack to compute.
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
        """A copy of images in the memory layout that the layers read."""
        return channels_last(images)

    def _restored(self, adversarial: Tensor) -> Tensor:
        """The reverse of `_arranged`: images one after the other in channels-last memory."""
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
        """Reads the weights, and each normalisation as a scale and a shift, for images of this shape."""

    @abstractmethod
    def _stem(self, images: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
        """The first block's input, and the same normalised and rectified."""

    @abstractmethod
    def _middle(self, a: Tensor, block: PreActBlock) -> Tensor:
        """The first convolution, normalised and rectified."""

    @abstractmethod
    def _shortcut(self, a: Tensor, layer: nn.Conv2d) -> Tensor: ...

    @abstractmethod
    def _sum(self, middle: Tensor, layer: nn.Conv2d, skip: Tensor | None) -> Tensor:
        """The second convolution, plus the shortcut's value."""

    @abstractmethod
    def _join(
        self, middle: Tensor, layer: nn.Conv2d, skip: Tensor | None, norm: nn.BatchNorm2d
    ) -> tuple[Tensor, Tensor]:
        """`_sum`, and the same normalised and rectified."""

    @abstractmethod
    def _perturb(
        self, x: Tensor, block: PreActBlock, which: tuple[int, int], norm: nn.BatchNorm2d
    ) -> tuple[Tensor, Tensor, Any]:
        """x with noise, the same normalised and rectified, and what `_through` needs of the noise.

        which: the attack's step and the block's number.
        """

    @abstractmethod
    def _head(self, a: Tensor, labels: Tensor) -> Tensor:
        """Gradient of the summed cross-entropy with respect to the last normalisation's input."""

    @abstractmethod
    def _through(self, grad: Tensor, before: Tensor, block: PreActBlock, noise: Any) -> Tensor:
        """Gradient of `_perturb`'s input from that of its result."""

    @abstractmethod
    def _back_middle(self, grad: Tensor, block: PreActBlock, middle: Tensor) -> Tensor:
        """Gradient of the first convolution's result from that of the second's."""

    @abstractmethod
    def _back_shortcut(self, grad: Tensor, layer: nn.Conv2d, entered: Tensor) -> Tensor: ...

    @abstractmethod
    def _back_block(
        self, inner: Tensor, block: PreActBlock, entered: Tensor, extra: Tensor | None, skip: Tensor | None
    ) -> Tensor:
        """Gradient of the block's input from the result of `_back_middle`.

        extra: the shortcut's part of the gradient of `entered`; skip: its part of that of the input.
        """

    @abstractmethod
    def _move(self, adversarial: Tensor, grad: Tensor, images: Tensor) -> None:
        """Moves the adversarial images by one step, in place; grad: of the stem's result."""
