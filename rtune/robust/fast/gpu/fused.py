"""The training attack with explicit forward and backward passes in fused kernels, for a GPU.

A convolution with its batch normalisation and ReLU is one kernel (`kernels`). Convolutions multiply in
bfloat16 and accumulate in float32.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from rtune.robust.attacks.pgd import PGD
from rtune.robust.fast import chain
from rtune.robust.fast.gpu import convolution, kernels
from rtune.robust.models.parts import Noise
from rtune.robust.models.resnet import PreActBlock, PreActNetwork

# Elements per program of the elementwise kernels.
_CHUNK = 4096


def fits(model: nn.Module, attack: PGD) -> TypeGuard[PreActNetwork]:
    """Whether there are kernels for all layers of this network, and `chain.fits` is true.

    There are none for noise that is scaled by each image.
    """
    return (
        chain.fits(model, attack)
        and all(m.gamma == 0 or m.scale == "batch" for m in model.modules() if isinstance(m, Noise))
        and all(convolution.suits(m) for m in model.modules() if isinstance(m, nn.Conv2d))
    )


class FusedPGD(chain.ChainedPGD):
    """See `ChainedPGD`.

    The noise of a noisy network and the random start use torch's default generator of the device. The noise
    is a different draw than in `PGD`.

    Args:
        model: the network, on a GPU.
        attack: the attack to compute.
        dtype: of factors in products and of tensors between layers; sums are always float32.
    """

    def __init__(self, model: PreActNetwork, attack: PGD, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__(model, attack)
        self.dtype = dtype
        self._convs: dict[nn.Conv2d, tuple[slice, convolution.Shape]] = {}
        self._norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        ends = torch.tensor([norm.num_features for norm in self._norms]).cumsum(0).tolist()
        self._span = {
            norm: slice(end - norm.num_features, end) for norm, end in zip(self._norms, ends, strict=True)
        }
        self._order = self._layout(model)

    def _layout(self, model: PreActNetwork) -> Tensor:
        """Indices that reorder the weights of all layers for the kernels: (groups, taps, inputs, outputs)."""
        order, first = [], 0
        for layer in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
            # The stems of all members read the same image: one convolution computes all their outputs.
            shape = convolution.Shape.of(layer, 1 if layer is model.stem else None)
            end = first + layer.weight.numel()
            self._convs[layer] = slice(first, end), shape
            order.append(shape.pack(torch.arange(first, end)).flatten())
            first = end
        return torch.cat(order).to(next(model.parameters()).device)

    def _read(self, images: Tensor) -> None:
        """Reads the weights in the order of the kernels, and each batch normalisation as scale and shift."""
        flat = torch.cat([layer.weight.flatten() for layer in self._convs])
        self._weights = flat[self._order].to(self.dtype)
        gain, bias, mean, var = (
            torch.cat([getattr(norm, name) for norm in self._norms])
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        self._scale = gain * torch.rsqrt(var + self._norms[0].eps)
        self._shift = bias - mean * self._scale
        self._seeds = torch.randint(2**62, (self.attack.steps,), device=flat.device)

    def _stem(self, images: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
        return self._convolve(images, self.model.stem, norm=norm)

    def _middle(self, a: Tensor, block: PreActBlock) -> Tensor:
        middle: Tensor = self._convolve(a, block.conv1, norm=block.norm2, raw=False)[1]
        return middle

    def _shortcut(self, a: Tensor, layer: nn.Conv2d) -> Tensor:
        made: Tensor = self._convolve(a, layer)[0]
        return made

    def _sum(self, middle: Tensor, layer: nn.Conv2d, skip: Tensor | None) -> Tensor:
        made: Tensor = self._convolve(middle, layer, skip)[0]
        return made

    def _join(
        self, middle: Tensor, layer: nn.Conv2d, skip: Tensor | None, norm: nn.BatchNorm2d
    ) -> tuple[Tensor, Tensor]:
        return self._convolve(middle, layer, skip, norm)

    def _perturb(
        self, x: Tensor, block: PreActBlock, which: tuple[int, int], norm: nn.BatchNorm2d
    ) -> tuple[Tensor, Tensor, Any]:
        noise = block.noise
        seed, salt = self._seeds[which[0] :], which[1]
        grid, pixels, channels = self._chunks(x, noise.members)
        sums = torch.empty(noise.members, grid[0], 2, device=x.device)
        kernels.moments[grid](x, sums, pixels, channels, noise.members, _CHUNK)
        noisy, activated = torch.empty_like(x), torch.empty_like(x)
        kernels.perturb[grid](
            x, sums, seed, salt, noise.gamma, *self._constants(norm), noisy, activated,
            pixels, grid[0], channels, noise.members, _CHUNK, convolution.power(grid[0]),
        )  # fmt: skip
        return noisy, activated, (sums, seed, salt)

    def _head(self, a: Tensor, labels: Tensor) -> Tensor:
        head = self.model.head
        groups, classes, channels = head.weight.shape
        area = math.prod(a.shape[2:])
        out = torch.empty_like(a)
        kernels.head[(len(labels),)](
            a, self._constants(self.model.norm)[0], head.weight, head.bias, labels, out,
            area, channels, classes, groups, *map(convolution.power, (area, channels, classes)),
        )  # fmt: skip
        return out

    def _through(self, grad: Tensor, before: Tensor, block: PreActBlock, noise: Any) -> Tensor:
        sums, seed, salt = noise
        members, gamma = block.noise.members, block.noise.gamma
        grid, pixels, channels = self._chunks(before, members)
        dots = torch.empty(members, grid[0], device=before.device)
        kernels.correlate[grid](grad, seed, salt, dots, pixels, channels, members, _CHUNK)
        kernels.through_noise[grid](
            grad, before, sums, dots, gamma,
            pixels, grid[0], channels, members, _CHUNK, convolution.power(grid[0]),
        )  # fmt: skip
        return grad

    def _back_middle(self, grad: Tensor, block: PreActBlock, middle: Tensor) -> Tensor:
        return self._back(grad, block.conv2, middle, block.norm2)

    def _back_shortcut(self, grad: Tensor, layer: nn.Conv2d, entered: Tensor) -> Tensor:
        return self._back(grad, layer, entered)

    def _back_block(
        self, inner: Tensor, block: PreActBlock, entered: Tensor, extra: Tensor | None, skip: Tensor | None
    ) -> Tensor:
        return self._back(inner, block.conv1, entered, block.norm1, extra, skip)

    def _move(self, adversarial: Tensor, grad: Tensor, images: Tensor) -> None:
        convolution.backward(
            grad,
            *self._weight(self.model.stem),
            adversarial,
            images=images,
            step=self.attack.step_size,
            epsilon=self.attack.epsilon,
        )

    def _convolve(
        self,
        x: Tensor,
        layer: nn.Conv2d,
        residual: Tensor | None = None,
        norm: nn.BatchNorm2d | None = None,
        raw: bool = True,
    ) -> tuple[Any, Any]:
        """As `convolution.forward`, with the weights, scale and shift of these layers."""
        weight, shape = self._weight(layer)
        return convolution.forward(x, weight, shape, residual, self._constants(norm), raw)

    def _back(
        self,
        grad: Tensor,
        layer: nn.Conv2d,
        entered: Tensor,
        norm: nn.BatchNorm2d | None = None,
        extra: Tensor | None = None,
        skip: Tensor | None = None,
    ) -> Tensor:
        """Gradient with respect to the input `entered` of the layer; with a `norm`, to the input of that."""
        weight, shape = self._weight(layer)
        activated = None if norm is None else entered
        scale = self._constants(norm)[0]
        to = torch.empty_like(entered)
        return convolution.backward(grad, weight, shape, to, extra, activated, scale, skip)

    def _weight(self, layer: nn.Conv2d) -> tuple[Tensor, convolution.Shape]:
        where, shape = self._convs[layer]
        return self._weights[where], shape

    def _chunks(self, x: Tensor, members: int) -> tuple[tuple[int, int], int, int]:
        pixels, channels = x.numel() // x.shape[1], x.shape[1] // members
        return (-(-pixels * channels // _CHUNK), members), pixels, channels

    def _constants(self, norm: nn.BatchNorm2d | None) -> Sequence[Tensor | None]:
        span = None if norm is None else self._span[norm]
        return (None, None) if span is None else (self._scale[span], self._shift[span])
