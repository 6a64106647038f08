"""The training attack as a chain of PyTorch's own operations, for a CPU.

Half of what autograd does there between convolutions is saved: the first normalisation of a block goes into
the weights of the convolution before it, the others are one pass, and nothing is kept that the image's
gradient does not need. Channels-last memory, which the convolutions of small images and of ensembles prefer.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtune.robust.chain import ChainedPGD, channels_last
from rtune.robust.models.resnet import PreActBlock

# Instead of no spread at all: then nothing is away from the mean either.
_TINY = 1e-30


class FoldedPGD(ChainedPGD):
    """See `ChainedPGD`; float32. A noisy network's noise is another draw than the plain attack's."""

    def _read(self) -> None:
        self._scale: dict[nn.BatchNorm2d, Tensor] = {}
        self._shift: dict[nn.BatchNorm2d, Tensor] = {}
        for norm in (m for m in self.model.modules() if isinstance(m, nn.BatchNorm2d)):
            mean, var = norm.running_mean, norm.running_var
            assert mean is not None
            assert var is not None
            scale = norm.weight * torch.rsqrt(var + norm.eps)
            self._scale[norm] = scale.view(1, -1, 1, 1)
            self._shift[norm] = (norm.bias - mean * scale).view(1, -1, 1, 1)
        self._weight = {
            layer: channels_last(layer.weight)
            for layer in self.model.modules()
            if isinstance(layer, nn.Conv2d)
        }
        for block in self._blocks:
            self._weight[block.conv1] *= self._scale[block.norm2].view(-1, 1, 1, 1)

    def _stem(self, images: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
        stem = self.model.stem
        # All members see the same image: one group with all their outputs.
        x = F.conv2d(images, self._weight[stem], padding=stem.padding)
        return x, self._activated(x, norm)

    def _middle(self, a: Tensor, block: PreActBlock) -> Tensor:
        return self._convolve(a, block.conv1, self._shift[block.norm2].flatten()).relu_()

    def _shortcut(self, a: Tensor, layer: nn.Conv2d) -> Tensor:
        return self._convolve(a, layer)

    def _sum(self, middle: Tensor, layer: nn.Conv2d, skip: Tensor | None) -> Tensor:
        x = self._convolve(middle, layer)
        return x if skip is None else x.add_(skip)

    def _join(
        self, middle: Tensor, layer: nn.Conv2d, skip: Tensor | None, norm: nn.BatchNorm2d
    ) -> tuple[Tensor, Tensor]:
        x = self._sum(middle, layer, skip)
        return x, self._activated(x, norm)

    def _perturb(
        self, x: Tensor, block: PreActBlock, which: tuple[int, int], norm: nn.BatchNorm2d
    ) -> tuple[Tensor, Tensor, Any]:
        parts = _by_member(x, block.noise.members)
        centred = parts - parts.mean(dim=(0, 2), keepdim=True)
        freedom = parts.shape[0] * parts.shape[2] - 1
        std = (centred.square().sum(dim=(0, 2), keepdim=True) / freedom).sqrt()
        drawn = torch.randn(parts.shape, device=x.device)
        noisy = _as_images(torch.addcmul(parts, drawn, std, value=block.noise.gamma), x)
        # d std / d x = centred / (freedom * std)
        return noisy, self._activated(noisy, norm), (drawn, centred.div_(freedom * std.clamp_min(_TINY)))

    def _head(self, a: Tensor, labels: Tensor) -> Tensor:
        head = self.model.head
        members, _, channels = head.weight.shape
        weight = head.weight.permute(1, 0, 2).reshape(-1, members * channels) / members
        logits = F.linear(a.mean(dim=(2, 3)), weight, head.bias.mean(dim=0))
        grad = logits.softmax(dim=1)
        grad[torch.arange(len(labels)), labels] -= 1
        each: Tensor = (grad @ weight / (a.shape[2] * a.shape[3]))[:, :, None, None]
        return _where_positive((each * self._scale[self.model.norm]).expand_as(a).contiguous(), a)

    def _through(self, grad: Tensor, before: Tensor, block: PreActBlock, noise: Any) -> Tensor:
        drawn, slope = noise
        grads = _by_member(grad, block.noise.members)
        share = (grads * drawn).sum(dim=(0, 2), keepdim=True)
        return _as_images(torch.addcmul(grads, slope, share, value=block.noise.gamma), grad)

    def _back_middle(self, grad: Tensor, block: PreActBlock, middle: Tensor) -> Tensor:
        return _where_positive(self._back(grad, block.conv2, middle), middle)

    def _back_shortcut(self, grad: Tensor, layer: nn.Conv2d, entered: Tensor) -> Tensor:
        return self._back(grad, layer, entered)

    def _back_block(
        self, inner: Tensor, block: PreActBlock, entered: Tensor, extra: Tensor | None, skip: Tensor | None
    ) -> Tensor:
        grad = self._back(inner, block.conv1, entered)
        if extra is not None:
            grad += extra
        grad = _where_positive(grad, entered).mul_(self._scale[block.norm1])
        return grad if skip is None else grad.add_(skip)

    def _move(self, adversarial: Tensor, grad: Tensor, images: Tensor) -> None:
        attack = self.attack
        sign = self._back(grad, self.model.stem, adversarial, groups=1).sign_()
        low, high = ((images + side * attack.epsilon).clamp_(0, 1) for side in (-1, 1))
        adversarial.add_(sign, alpha=attack.step_size)
        torch.clamp(adversarial, low, high, out=adversarial)

    def _activated(self, x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        return torch.addcmul(self._shift[norm], x, self._scale[norm]).relu_()

    def _convolve(self, x: Tensor, layer: nn.Conv2d, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(
            x, self._weight[layer], bias, stride=layer.stride, padding=layer.padding, groups=layer.groups
        )

    def _back(self, grad: Tensor, layer: nn.Conv2d, entered: Tensor, groups: int | None = None) -> Tensor:
        """Gradient of what the layer read."""
        back: Tensor = torch.ops.aten.convolution_backward(
            grad, entered, self._weight[layer], None, layer.stride, layer.padding, layer.dilation,
            False, [0, 0], groups or layer.groups, [True, False, False],
        )[0]  # fmt: skip
        return back


def _where_positive(grad: Tensor, activated: Tensor) -> Tensor:
    """The rectifier's gradient, in place."""
    torch.ops.aten.threshold_backward(grad, activated, 0, grad_input=grad)
    return grad


def _by_member(x: Tensor, members: int) -> Tensor:
    """(N, members * C, H, W) in channels-last memory seen as (pixels, members, C)."""
    return x.permute(0, 2, 3, 1).reshape(-1, members, x.shape[1] // members)


def _as_images(parts: Tensor, like: Tensor) -> Tensor:
    """What `_by_member` took."""
    n, channels, height, width = like.shape
    return parts.view(n, height, width, channels).permute(0, 3, 1, 2)
