"""PGD on a pre-activation network with explicit forward and backward passes, without autograd.

The attack is that of `rtune.robust.attacks.pgd.PGD` on the same network in evaluation mode. In this mode
batch normalisation is a scale and a shift, which can be merged into the convolution before it, and only the
gradient with respect to the images is needed. Autograd uses neither property. Subclasses compute the forward
and backward pass of each layer.
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
    """Whether `ChainedPGD` can compute this attack on this network, which may be of a user's class."""
    return (
        isinstance(model, PreActNetwork)
        and _is_chain(model)
        and attack.loss == AttackCrossEntropy()
        and attack.restarts == attack.eot_draws == 1
    )


def _is_chain(model: PreActNetwork) -> bool:
    """Whether the network has exactly the layers of a `PreActNetwork`, in their order, none compacted."""
    stem, kind = model.stem, type(model)
    return (
        kind.forward is Network.forward
        and kind.features is PreActNetwork.features
        and (stem.kernel_size, stem.stride, stem.padding) == ((3, 3), (1, 1), (1, 1))
        and all(type(block) is PreActBlock and type(block.read) is nn.Identity for block in model.blocks)
    )


class ChainedPGD(ABC):
    """Replaces `PGD` (arXiv 1706.06083) for a network and attack for which `fits` is true.

    Each call reads the weights and running statistics of the network again. The network is evaluated as in
    evaluation mode, whatever its mode is.

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
        """Adversarial images (N, C, H, W) in [0, 1] in channels-last memory; arguments as in `PGD`."""
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
        """A copy of the images in the memory layout of the layers."""
        return channels_last(images)

    def _restored(self, adversarial: Tensor) -> Tensor:
        """The inverse of `_arranged`: images in channels-last memory."""
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
        """Reads the weights, and each batch normalisation as scale and shift, for images of this shape."""

    @abstractmethod
    def _stem(self, images: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
        """The input of the first block, before and after batch normalisation and ReLU."""

    @abstractmethod
    def _middle(self, a: Tensor, block: PreActBlock) -> Tensor:
        """The first convolution with batch normalisation and ReLU."""

    @abstractmethod
    def _shortcut(self, a: Tensor, layer: nn.Conv2d) -> Tensor: ...

    @abstractmethod
    def _sum(self, middle: Tensor, layer: nn.Conv2d, skip: Tensor | None) -> Tensor:
        """The second convolution, plus the value of the shortcut."""

    @abstractmethod
    def _join(
        self, middle: Tensor, layer: nn.Conv2d, skip: Tensor | None, norm: nn.BatchNorm2d
    ) -> tuple[Tensor, Tensor]:
        """`_sum`, before and after batch normalisation and ReLU."""

    @abstractmethod
    def _perturb(
        self, x: Tensor, block: PreActBlock, which: tuple[int, int], norm: nn.BatchNorm2d
    ) -> tuple[Tensor, Tensor, Any]:
        """x with noise, the same after batch normalisation and ReLU, and the state that `_through` needs.

        which: step of the attack and index of the block.
        """

    @abstractmethod
    def _head(self, a: Tensor, labels: Tensor) -> Tensor:
        """Gradient of the summed cross-entropy with respect to the input of the last batch normalisation."""

    @abstractmethod
    def _through(self, grad: Tensor, before: Tensor, block: PreActBlock, noise: Any) -> Tensor:
        """Backward pass of `_perturb`: gradient with respect to its input."""

    @abstractmethod
    def _back_middle(self, grad: Tensor, block: PreActBlock, middle: Tensor) -> Tensor:
        """Backward pass of the second convolution: gradient with respect to the output of the first."""

    @abstractmethod
    def _back_shortcut(self, grad: Tensor, layer: nn.Conv2d, entered: Tensor) -> Tensor: ...

    @abstractmethod
    def _back_block(
        self, inner: Tensor, block: PreActBlock, entered: Tensor, extra: Tensor | None, skip: Tensor | None
    ) -> Tensor:
        """Backward pass of the first convolution: gradient with respect to the input of the block.

        Args:
            inner: the result of `_back_middle`.
            block: the block.
            entered: the input of the first convolution.
            extra: gradient with respect to `entered` through a 1x1 shortcut; None without one.
            skip: gradient with respect to the input of the block through an identity; None without one.
        """

    @abstractmethod
    def _move(self, adversarial: Tensor, grad: Tensor, images: Tensor) -> None:
        """Updates the adversarial images by one step, in place; grad: with respect to the stem's output."""
