"""Grouped convolutions with few channels on a GPU: forward and backward passes by the kernels in `kernels`.

cuDNN is optimised for many channels and one group; in an ensemble each member is a group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rtune.robust.fast.gpu import kernels

# With more channels than this cuDNN is faster.
MOST_CHANNELS = 128
# Number of programs with which each multiprocessor of a large GPU has two (132 on an H100 or H200).
_PROGRAMS = 264


@dataclass(frozen=True)
class Shape:
    """A convolution without bias, with padding kernel // 2.

    Attributes:
        groups: number of groups.
        inputs, outputs: channels of each group.
        kernel: height and width of the kernel.
        stride: of both axes.
    """

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
        """Height or width of the output for that of the input."""
        return -(-side // self.stride)

    def pack(self, weight: Tensor) -> Tensor:
        """From (groups * outputs, inputs, k, k) to (groups, k * k, inputs, outputs), for the kernels."""
        split = weight.reshape(self.groups, self.outputs, self.inputs, self.kernel**2)
        return split.permute(0, 3, 2, 1)

    def unpack(self, packed: Tensor) -> Tensor:
        """The inverse of `pack`, from (groups, k * k, inputs, outputs)."""
        split = packed.permute(0, 3, 2, 1)
        return split.reshape(self.groups * self.outputs, self.inputs, self.kernel, self.kernel)


def suits(layer: nn.Conv2d) -> bool:
    """Whether the kernels support this layer and are faster than cuDNN."""
    shape = Shape.of(layer)
    return shape.outputs > 1 and max(shape.inputs, shape.outputs) <= MOST_CHANNELS


def convolve(x: Tensor, layer: nn.Conv2d, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """`layer(x)` in channels-last memory, with products in `dtype` and sums in float32; differentiable."""
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
    """The convolution plus `residual`, before and after batch normalisation and ReLU.

    Args:
        x: (N, C, H, W) in channels-last memory, as all tensors here.
        weight: from `Shape.pack`; the results have its dtype.
        shape: of the convolution.
        residual: added to the convolution; None for nothing.
        constants: scale and shift of the batch normalisation, each (channels of all groups,).
        raw: whether to return the first result.

    Returns:
        The two results; None instead of the first unless `raw`, and instead of the second without constants.
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
    """Writes the gradient with respect to the input to `to` and returns it; see `kernels.input_gradient`."""
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
    """Gradient with respect to the weights, float32, in the order of `Shape.pack`.

    Args:
        x: the input, as in `forward`.
        grad: gradient with respect to the output.
        shape: of the convolution.
    """
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
    """An uninitialised channels-last tensor of this shape, with dtype and device of `weight`."""
    return torch.empty(shape, dtype=weight.dtype, device=weight.device, memory_format=torch.channels_last)


def power(n: int) -> int:
    """The smallest power of 2 that is at least n; Triton requires it for the sizes of a block."""
    return 1 << (n - 1).bit_length()


def block(channels: int) -> int:
    """Channels in a block: 16 to 64; tensor cores need at least 16."""
    return min(max(power(channels), 16), 64)


def precision(dtype: torch.dtype) -> str:
    """`input_precision` of Triton's matrix product; it only has an effect for float32."""
    return "ieee" if dtype == torch.float32 else "tf32"


def _rows(pixels: int) -> int:
    """Pixels per program: fewer if there would be too few programs."""
    return 128 if pixels >= _PROGRAMS * 128 else 64


def _warps(columns: int) -> int:
    """Warps per program: two for narrow blocks, for which four were slower on an H200."""
    return 2 if columns == 16 else 4
