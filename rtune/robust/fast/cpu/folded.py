"""The training attack with explicit forward and backward passes in PyTorch operations, for a CPU.

It needs half the work of autograd between convolutions. The second batch normalisation of a block is merged
into the weights of the convolution before it, each other one is a single pass over memory, and only values
that the gradient of the images needs are kept. Tensors are channels-last, which makes convolutions of small
images and of ensembles faster.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtune.robust.fast.chain import ChainedPGD
from rtune.robust.fast.cpu import layers
from rtune.robust.fast.cpu.layers import Layer, Layout, Stem
from rtune.robust.models.resnet import PreActBlock

# Lower bound of a standard deviation in a denominator; where it is 0, the numerator is 0 too.
_TINY = 1e-30


class FoldedPGD(ChainedPGD):
    """See `ChainedPGD`; float32. The noise of a noisy network is a different draw than in `PGD`."""

    def _read(self, images: Tensor) -> None:
        self._images, layouts = layers.layouts(images, self.model)
        self._last = layouts[-1]
        self._scale: dict[nn.BatchNorm2d, Tensor] = {}
        self._shift: dict[nn.BatchNorm2d, Tensor] = {}
        self._layers: dict[nn.Conv2d, Layer] = {}
        self._layouts: dict[PreActBlock, Layout] = {}
        self._entry = Stem(self.model.stem.weight, self._images)
        for block, (before, after) in zip(self._blocks, pairwise(layouts), strict=True):
            self._layouts[block] = after
            self._normalisation(block.norm1, before)
            scale, shift = _as_deployed(block.norm2)
            weight = block.conv1.weight * scale.view(-1, 1, 1, 1)
            self._layers[block.conv1] = layers.layer(block.conv1, weight, shift, before, after)
            self._layers[block.conv2] = layers.layer(block.conv2, block.conv2.weight, None, after, after)
            if block.shortcut is not None:
                weight = block.shortcut.weight
                self._layers[block.shortcut] = layers.layer(block.shortcut, weight, None, before, after)
        self._normalisation(self.model.norm, self._last)

    def _normalisation(self, norm: nn.BatchNorm2d, layout: Layout) -> None:
        self._scale[norm], self._shift[norm] = (layout.channels(each) for each in _as_deployed(norm))

    def _arranged(self, images: Tensor) -> Tensor:
        return self._images.beside(images)

    def _restored(self, adversarial: Tensor) -> Tensor:
        return self._images.one_by_one(adversarial)

    def _stem(self, images: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
        x = self._entry(images)
        return x, self._activated(x, norm)

    def _middle(self, a: Tensor, block: PreActBlock) -> Tensor:
        return self._layers[block.conv1](a).relu_()

    def _shortcut(self, a: Tensor, layer: nn.Conv2d) -> Tensor:
        return self._layers[layer](a)

    def _sum(self, middle: Tensor, layer: nn.Conv2d, skip: Tensor | None) -> Tensor:
        x = self._layers[layer](middle)
        return x if skip is None else x.add_(skip)

    def _join(
        self, middle: Tensor, layer: nn.Conv2d, skip: Tensor | None, norm: nn.BatchNorm2d
    ) -> tuple[Tensor, Tensor]:
        x = self._sum(middle, layer, skip)
        return x, self._activated(x, norm)

    def _perturb(
        self, x: Tensor, block: PreActBlock, which: tuple[int, int], norm: nn.BatchNorm2d
    ) -> tuple[Tensor, Tensor, Any]:
        layout, noise = self._layouts[block], block.noise
        channels = block.conv2.out_channels
        sums = self._sums(block)
        total = sums(x)
        count = x.numel() // total.numel()  # numbers that share a standard deviation
        centred = x - layout.by_member(total / count, channels)
        std = (sums(centred.square()) / max(1, count - 1)).sqrt()
        drawn = layout.normal(x)
        noisy = torch.addcmul(x, drawn, layout.by_member(std, channels), value=noise.gamma)
        # d std / d x = centred / ((count - 1) * std)
        slope = noise.gamma / (max(1, count - 1) * std.clamp_min(_TINY))
        return noisy, self._activated(noisy, norm), (drawn, centred, slope)

    def _head(self, a: Tensor, labels: Tensor) -> Tensor:
        head = self.model.head
        members, _, channels = head.weight.shape
        weight = head.weight.permute(1, 0, 2).reshape(-1, members * channels) / members
        pooled = self._last.pooled(a)
        logits = F.linear(pooled, weight, head.bias.mean(dim=0))
        grad = logits.softmax(dim=1)
        grad[torch.arange(len(labels)), labels] -= 1
        each = grad @ weight * (pooled.numel() / a.numel())
        return _where_positive(self._last.spread(each, a), a).mul_(self._scale[self.model.norm])

    def _through(self, grad: Tensor, before: Tensor, block: PreActBlock, noise: Any) -> Tensor:
        layout = self._layouts[block]
        drawn, centred, slope = noise
        share = layout.by_member(slope * self._sums(block)(grad * drawn), block.conv2.out_channels)
        return torch.addcmul(grad, centred, share)

    def _sums(self, block: PreActBlock) -> Callable[[Tensor], Tensor]:
        """Sums over the numbers that share the standard deviation of the noise after a block."""
        layout = self._layouts[block]
        return layout.sums if block.noise.scale == "batch" else layout.sums_of_images

    def _back_middle(self, grad: Tensor, block: PreActBlock, middle: Tensor) -> Tensor:
        return _where_positive(self._layers[block.conv2].back(grad, middle), middle)

    def _back_shortcut(self, grad: Tensor, layer: nn.Conv2d, entered: Tensor) -> Tensor:
        return self._layers[layer].back(grad, entered)

    def _back_block(
        self, inner: Tensor, block: PreActBlock, entered: Tensor, extra: Tensor | None, skip: Tensor | None
    ) -> Tensor:
        grad = self._layers[block.conv1].back(inner, entered)
        if extra is not None:
            stride = block.conv1.stride[0] if extra.shape != grad.shape else 1
            grad[..., ::stride, ::stride] += extra
        grad = _where_positive(grad, entered).mul_(self._scale[block.norm1])
        return grad if skip is None else grad.add_(skip)

    def _move(self, adversarial: Tensor, grad: Tensor, images: Tensor) -> None:
        attack = self.attack
        sign = self._entry.back(grad, adversarial).sign_()
        low, high = ((images + side * attack.epsilon).clamp_(0, 1) for side in (-1, 1))
        adversarial.add_(sign, alpha=attack.step_size)
        torch.clamp(adversarial, low, high, out=adversarial)

    def _activated(self, x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        return torch.addcmul(self._shift[norm], x, self._scale[norm]).relu_()


def _where_positive(grad: Tensor, activated: Tensor) -> Tensor:
    """Backward pass of ReLU, in place: `grad` where `activated` is positive, else 0."""
    torch.ops.aten.threshold_backward(grad, activated, 0, grad_input=grad)
    return grad


def _as_deployed(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch normalisation in evaluation mode, each (channels,)."""
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    scale: Tensor = norm.weight * torch.rsqrt(var + norm.eps)
    return scale, norm.bias - mean * scale
