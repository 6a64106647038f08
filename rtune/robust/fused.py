"""The training attack on a pre-activation network as a chain of fused layers, for a GPU.

Same attack as `rtune.robust.attacks.PGD` on the same network in evaluation mode, with the gradient written
out instead of recorded: in a deployed network normalisation is a scale and a shift, so that a layer and all
around it is one kernel (`rtune.robust.kernels`). Convolutions multiply in bfloat16 and add in float32.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from rtune.robust import convolution, kernels
from rtune.robust.attacks import PGD
from rtune.robust.models.parts import Noise
from rtune.robust.models.resnet import PreActBlock, PreActNetwork

# Elements a program of the elementwise kernels.
_CHUNK = 4096


def fits(model: nn.Module, attack: PGD) -> TypeGuard[PreActNetwork]:
    """Whether there are kernels for this attack on this network."""
    return (
        isinstance(model, PreActNetwork)
        and attack.loss == "cross_entropy"
        and attack.restarts == attack.eot_draws == 1
        and all(convolution.suits(m) for m in model.modules() if isinstance(m, nn.Conv2d))
    )


class FusedPGD:
    """`PGD` on a network that `fits`; called in its place.

    The network's weights and statistics are read anew in each call, and its evaluation mode is taken for
    granted. A noisy network draws its noise from torch's generator of the device, as the random start does;
    the noise is another draw than the plain attack's.

    Args:
        model: on a GPU.
        attack: what is to be done.
        dtype: of what is multiplied and kept between layers; sums are float32 always.
    """

    def __init__(self, model: PreActNetwork, attack: PGD, dtype: torch.dtype = torch.bfloat16) -> None:
        self.attack = attack
        self.dtype = dtype
        self.model = model
        self._blocks = [block for block in model.blocks if isinstance(block, PreActBlock)]
        self._convs: dict[nn.Conv2d, tuple[slice, convolution.Shape]] = {}
        self._norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        ends = torch.tensor([norm.num_features for norm in self._norms]).cumsum(0).tolist()
        self._span = {
            norm: slice(end - norm.num_features, end) for norm, end in zip(self._norms, ends, strict=True)
        }
        self._order = self._layout(model)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, as `PGD` gives them, in channels-last memory."""
        attack = self.attack
        images = images.contiguous(memory_format=torch.channels_last)
        adversarial = images.clone()
        if attack.random_start:
            noise = torch.rand_like(images).mul_(2).sub_(1)
            adversarial = adversarial.add_(noise, alpha=attack.epsilon)
            low, high = images - attack.epsilon, images + attack.epsilon
            adversarial = torch.clamp(torch.clamp(adversarial, low, high), 0, 1)
        seeds = torch.randint(2**62, (attack.steps,), device=images.device)
        self._read()
        for step in range(attack.steps):
            self._move(adversarial, images, labels, seeds[step : step + 1])
        return adversarial

    def _layout(self, model: PreActNetwork) -> Tensor:
        """Which weight of all, layer after layer, stands where in (groups, taps, inputs, outputs)."""
        order, first = [], 0
        for layer in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
            # All members' stems see the same image: one convolution with all their outputs.
            shape = convolution.Shape.of(layer, 1 if layer is model.stem else None)
            end = first + layer.weight.numel()
            self._convs[layer] = slice(first, end), shape
            order.append(shape.pack(torch.arange(first, end)).flatten())
            first = end
        return torch.cat(order).to(next(model.parameters()).device)

    @torch.no_grad()
    def _read(self) -> None:
        """Weights in the kernels' order, and each normalisation as a scale and a shift."""
        flat = torch.cat([layer.weight.flatten() for layer in self._convs])
        self._weights = flat[self._order].to(self.dtype)
        gain, bias, mean, var = (
            torch.cat([getattr(norm, name) for norm in self._norms])
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        self._scale = gain * torch.rsqrt(var + self._norms[0].eps)
        self._shift = bias - mean * self._scale

    @torch.no_grad()
    def _move(self, adversarial: Tensor, images: Tensor, labels: Tensor, seed: Tensor) -> None:
        """One step of the attack, in place."""
        model = self.model
        noises = [b.noise for b in self._blocks]
        following = [*(b.norm1 for b in self._blocks[1:]), model.norm]
        x, a = self._convolve(adversarial, model.stem, norm=self._blocks[0].norm1)
        kept = []
        for salt, (block, noise, norm) in enumerate(zip(self._blocks, noises, following, strict=True)):
            _, middle = self._convolve(a, block.conv1, norm=block.norm2, raw=False)
            skip = x if block.skip else None
            if block.shortcut is not None:
                skip, _ = self._convolve(a, block.shortcut)
            quiet = noise.gamma == 0
            before, after = self._convolve(middle, block.conv2, skip, norm if quiet else None)
            sums = None
            kept_now = (a, middle, before)
            if quiet:
                x, a = before, after
            else:
                sums, x, a = self._perturb(before, noise, seed, salt, norm)
            kept.append((*kept_now, sums))
        grad = self._head(a, labels)
        for salt in reversed(range(len(self._blocks))):
            block = self._blocks[salt]
            entered, middle, before, sums = kept[salt]
            if sums is not None:
                self._through(grad, before, sums, block.noise, seed, salt)
            inner = self._back(grad, block.conv2, middle, block.norm2)
            extra = None if block.shortcut is None else self._back(grad, block.shortcut, entered)
            skip = grad if block.skip and block.shortcut is None else None
            grad = self._back(inner, block.conv1, entered, block.norm1, extra, skip)
        attack = self.attack
        convolution.backward(
            grad,
            *self._weight(model.stem),
            adversarial,
            images=images,
            step=attack.step_size,
            epsilon=attack.epsilon,
        )

    def _convolve(
        self,
        x: Tensor,
        layer: nn.Conv2d,
        residual: Tensor | None = None,
        norm: nn.BatchNorm2d | None = None,
        raw: bool = True,
    ) -> tuple[Any, Any]:
        """As `convolution.forward`: None for what is not wanted."""
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
        """Gradient of what the layer read: of `entered`, or with a `norm` of what that normalised."""
        weight, shape = self._weight(layer)
        activated = None if norm is None else entered
        scale = self._constants(norm)[0]
        to = torch.empty_like(entered)
        return convolution.backward(grad, weight, shape, to, extra, activated, scale, skip)

    def _weight(self, layer: nn.Conv2d) -> tuple[Tensor, convolution.Shape]:
        where, shape = self._convs[layer]
        return self._weights[where], shape

    def _head(self, activated: Tensor, labels: Tensor) -> Tensor:
        head = self.model.head
        groups, classes, channels = head.weight.shape
        area = math.prod(activated.shape[2:])
        out = torch.empty_like(activated)
        kernels.head[(len(labels),)](
            activated, self._constants(self.model.norm)[0], head.weight, head.bias, labels, out,
            area, channels, classes, groups, *map(convolution.power, (area, channels, classes)),
        )  # fmt: skip
        return out

    def _perturb(
        self, x: Tensor, noise: Noise, seed: Tensor, salt: int, norm: nn.BatchNorm2d
    ) -> tuple[Tensor, Tensor, Tensor]:
        grid, pixels, channels = self._chunks(x, noise.members)
        sums = torch.empty(noise.members, grid[0], 2, device=x.device)
        kernels.moments[grid](x, sums, pixels, channels, noise.members, _CHUNK)
        noisy, activated = torch.empty_like(x), torch.empty_like(x)
        kernels.perturb[grid](
            x, sums, seed, salt, noise.gamma, *self._constants(norm), noisy, activated,
            pixels, grid[0], channels, noise.members, _CHUNK, convolution.power(grid[0]),
        )  # fmt: skip
        return sums, noisy, activated

    def _through(self, grad: Tensor, x: Tensor, sums: Tensor, noise: Noise, seed: Tensor, salt: int) -> None:
        grid, pixels, channels = self._chunks(x, noise.members)
        dots = torch.empty(noise.members, grid[0], device=x.device)
        kernels.correlate[grid](grad, seed, salt, dots, pixels, channels, noise.members, _CHUNK)
        kernels.through_noise[grid](
            grad,
            x,
            sums,
            dots,
            noise.gamma,
            pixels,
            grid[0],
            channels,
            noise.members,
            _CHUNK,
            convolution.power(grid[0]),
        )

    def _chunks(self, x: Tensor, members: int) -> tuple[tuple[int, int], int, int]:
        pixels, channels = x.numel() // x.shape[1], x.shape[1] // members
        return (-(-pixels * channels // _CHUNK), members), pixels, channels

    def _constants(self, norm: nn.BatchNorm2d | None) -> Sequence[Tensor | None]:
        span = None if norm is None else self._span[norm]
        return (None, None) if span is None else (self._scale[span], self._shift[span])
