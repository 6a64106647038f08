"""Grouped convolutions of few channels on a GPU, forward and backward, by the kernels in `kernels`.

cuDNN's are made for many channels and one group; the members of an ensemble are groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rtune.robust.fast.gpu import kernels

# With more channels than this cuDNN is faster.
MOST_CHANNELS = 128
# A kernel needs at least so many programs for every processor of a large GPU to have two.
_PROGRAMS = 264


@dataclass(frozen=True)
class Shape:
    """A convolution without bias that pads by half its kernel; channels are a group's own."""

    groups: int
    inputs: int
    outputs: int
    kernel: int
    stride: int

    @classmethod
    def of(cls, layer: nn.Conv2d, groups: int | None = None) -> "Shape":
        groups = layer.groups if groups is None else groups
        outputs, inputs, kernel, _ = layer.weight.shape
        return cls(groups, inputs, outputs // groups, kernel, layer.stride[0])

    def size(self, side: int) -> int:
        """Height or width of the result."""
        return -(-side // self.stride)

    def pack(self, weight: Tensor) -> Tensor:
        """(outputs of all groups, inputs, k, k) as the kernels want it: (groups, k * k, inputs, outputs)."""
        split = weight.reshape(self.groups, self.outputs, self.inputs, self.kernel**2)
        return split.permute(0, 3, 2, 1)

    def unpack(self, packed: Tensor) -> Tensor:
        """The reverse of `pack`, from (groups, k * k, inputs, outputs)."""
        split = packed.permute(0, 3, 2, 1)
        return split.reshape(self.groups * self.outputs, self.inputs, self.kernel, self.kernel)


def suits(layer: nn.Conv2d) -> bool:
    """Whether the kernels are made for such a layer."""
    shape = Shape.of(layer)
    return shape.outputs > 1 and max(shape.inputs, shape.outputs) <= MOST_CHANNELS


def convolve(x: Tensor, layer: nn.Conv2d, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """`layer(x)` in channels-last memory, multiplied in `dtype` and added in float32; differentiable."""
    made: Tensor = _Convolution.apply(x, layer.weight, Shape.of(layer), dtype)
    return made


def forward(
    x: Tensor,
    weight: Tensor,
    shape: Shape,
    residual: Tensor | None = None,
    constants: Sequence[Tensor | None] = (None, None),
    raw: bool = True,
) -> tuple[Tensor | None, Tensor | None]:
    """The convolution [+ residual], and the same normalised and rectified.

    Args:
        x: (N, C, H, W) in channels-last memory, as all images here.
        weight: packed, in the type that results are to have.
        shape: of the convolution.
        residual: added to the result.
        constants: scale and shift (channels of all groups) of the normalisation.
        raw: whether the first result is wanted.

    Returns:
        Both; None for the first unless `raw`, for the second without constants.
    """
    n, _, in_height, in_width = x.shape
    height, width = shape.size(in_height), shape.size(in_width)
    whole = (n, shape.groups * shape.outputs, height, width)
    wanted = (raw, constants[0] is not None)
    made = [like(whole, weight) if want else None for want in wanted]
    pixels = n * height * width
    columns = block(shape.outputs)
    rows = _rows(pixels * shape.groups)
    grid = (-(-pixels // rows), shape.groups, -(-shape.outputs // columns))
    kernels.convolve[grid](
        x, weight, residual, *constants, *made,
        pixels, height, width, in_height, in_width,
        shape.inputs, shape.outputs, shape.kernel, shape.stride, shape.groups,
        rows, block(shape.inputs), columns, precision(weight.dtype), num_warps=_warps(columns),
    )  # fmt: skip
    return made[0], made[1]


def backward(
    grad: Tensor,
    weight: Tensor,
    shape: Shape,
    to: Tensor,
    extra: Tensor | None = None,
    activated: Tensor | None = None,
    scale: Tensor | None = None,
    skip: Tensor | None = None,
    images: Tensor | None = None,
    step: float = 0.0,
    epsilon: float = 0.0,
) -> Tensor:
    """Writes the gradient of the convolution's input to `to`; see `kernels.input_gradient`. Returns `to`."""
    n, _, height, width = to.shape
    pixels = n * height * width
    columns = block(shape.inputs)
    rows = _rows(pixels * shape.groups)
    grid = (-(-pixels // rows), shape.groups, -(-shape.inputs // columns))
    kernels.input_gradient[grid](
        grad, weight, extra, activated, scale, skip, to, images, step, epsilon,
        pixels, height, width, *grad.shape[2:],
        shape.inputs, shape.outputs, shape.kernel, shape.stride, shape.groups,
        rows, columns, block(shape.outputs), precision(weight.dtype), num_warps=_warps(columns),
    )  # fmt: skip
    return to


def weight_gradient(x: Tensor, grad: Tensor, shape: Shape) -> Tensor:
    """Gradient of the weights, packed, float32; x as `forward` takes it, grad of its result."""
    n, _, height, width = grad.shape
    pixels, rows, taps = n * height * width, 128, shape.kernel**2
    inputs, outputs = block(shape.inputs), block(shape.outputs)
    blocks = -(-shape.inputs // inputs) * -(-shape.outputs // outputs)
    chunks = max(1, min(-(-4 * _PROGRAMS // (taps * shape.groups * blocks)), -(-pixels // rows)))
    chunk = -(-pixels // (chunks * rows)) * rows
    chunks = -(-pixels // chunk)
    parts = torch.empty(
        chunks, shape.groups, taps, shape.inputs, shape.outputs, dtype=torch.float32, device=x.device
    )
    kernels.weight_gradient[(chunks, shape.groups * taps, blocks)](
        x, grad, parts, pixels, chunk, height, width, *x.shape[2:],
        shape.inputs, shape.outputs, shape.kernel, shape.stride, shape.groups,
        rows, inputs, outputs, precision(x.dtype),
    )  # fmt: skip
    return parts.sum(dim=0)


class _Convolution(torch.autograd.Function):
    """See `convolve`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, shape: Shape, dtype: torch.dtype) -> Tensor:
        x = x.to(dtype, memory_format=torch.channels_last)
        packed = shape.pack(weight).to(dtype).contiguous()
        made, _ = forward(x, packed, shape)
        ctx.save_for_backward(x, packed)
        ctx.shape = shape
        assert made is not None
        return made

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, packed = ctx.saved_tensors
        shape: Shape = ctx.shape
        grad = grad.to(packed.dtype, memory_format=torch.channels_last)
        to_x = backward(grad, packed, shape, torch.empty_like(x)) if ctx.needs_input_grad[0] else None
        to_weight = shape.unpack(weight_gradient(x, grad, shape)) if ctx.needs_input_grad[1] else None
        return to_x, to_weight, None, None


def like(shape: Sequence[int], weight: Tensor) -> Tensor:
    """Uninitialised images of that shape and of the weights' type."""
    return torch.empty(shape, dtype=weight.dtype, device=weight.device, memory_format=torch.channels_last)


def power(n: int) -> int:
    """The next power of 2, which sides of a block must be."""
    return 1 << (n - 1).bit_length()


def block(channels: int) -> int:
    """Channels at a time; matrix units take 16 at the least."""
    return min(max(power(channels), 16), 64)


def precision(dtype: torch.dtype) -> str:
    return "ieee" if dtype == torch.float32 else "tf32"


def _rows(pixels: int) -> int:
    """Pixels a program: fewer where there would be too few programs."""
    return 128 if pixels >= _PROGRAMS * 128 else 64


def _warps(columns: int) -> int:
    """Two for narrow blocks, where four were seen to be slower on an H200."""
    return 2 if columns == 16 else 4
