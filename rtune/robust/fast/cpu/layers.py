"""Fast convolutions of small images on a CPU: forward pass, and gradient with respect to the input.

oneDNN computes large convolutions at the peak rate of the processor, but not small ones, for three reasons.
It multiplies by the padding, which is half of the work for an image of 2x2 pixels. With few channels it is
slower for one group than for several. And the backward pass of a strided convolution is slow. So a batch has
one of two memory layouts, and some layers have special implementations.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtune.robust.models.resnet import PreActBlock, PreActNetwork

# Images with at most this many pixels use the layout `Planes`.
_PLANE = 4
# Up to this height and this many channels, a grouped convolution of two images at once is faster.
_SMALL, _NARROW = 8, 16


class Layout(Protocol):
    """Memory layout of a batch of N images with k members and C channels per member."""

    def channels(self, each: Tensor) -> Tensor:
        """Reshapes one number per channel, (k * C,), for multiplication with a batch."""

    def by_member(self, each: Tensor, channels: int) -> Tensor:
        """Reshapes a result of `sums` or `sums_of_images` for multiplication with a batch.

        channels: k * C of the batch.
        """

    def sums(self, x: Tensor) -> Tensor:
        """Sum of the elements of each member: (k,)."""

    def sums_of_images(self, x: Tensor) -> Tensor:
        """Sum of the elements of each image in each member, in an order of the layout's own."""

    def normal(self, like: Tensor) -> Tensor:
        """A batch of independent standard normal numbers with the shape of `like`."""

    def pooled(self, x: Tensor) -> Tensor:
        """Mean over the pixels of each image: (N, k * C)."""

    def spread(self, each: Tensor, like: Tensor) -> Tensor:
        """Repeats (N, k * C) for each pixel, as a batch with the shape of `like`."""


class Images(Layout):
    """(N / lanes, lanes * k * C, H, W) in channels-last memory.

    Args:
        members: k.
        lanes: number of images whose channels are concatenated; 1 with several members or with noise.
    """

    def __init__(self, members: int, lanes: int) -> None:
        self.members, self.lanes = members, lanes
        self.groups = members * lanes

    def channels(self, each: Tensor) -> Tensor:
        return each.repeat(self.lanes).view(1, -1, 1, 1)

    def by_member(self, each: Tensor, channels: int) -> Tensor:
        return each.repeat_interleave(channels // self.members, dim=-1).view(-1, channels, 1, 1)

    def sums(self, x: Tensor) -> Tensor:
        return x.sum(dim=(0, 2, 3)).view(self.members, -1).sum(dim=1)

    def sums_of_images(self, x: Tensor) -> Tensor:
        return x.sum(dim=(2, 3)).view(len(x), self.members, -1).sum(dim=2)

    def normal(self, like: Tensor) -> Tensor:
        n, channels, height, width = like.shape
        return torch.randn(n, height, width, channels, device=like.device).permute(0, 3, 1, 2)

    def pooled(self, x: Tensor) -> Tensor:
        return self.one_by_one(x.mean(dim=(2, 3), keepdim=True)).flatten(1)

    def spread(self, each: Tensor, like: Tensor) -> Tensor:
        return self.beside(each[:, :, None, None]).expand_as(like).contiguous()

    def beside(self, x: Tensor) -> Tensor:
        """Converts (N, k * C, H, W) to this layout."""
        if self.lanes == 1:
            return channels_last(x)
        n, channels, height, width = x.shape
        lanes = x.view(self.lanes, n // self.lanes, channels, height, width).transpose(0, 1)
        return channels_last(lanes.reshape(-1, self.lanes * channels, height, width))

    def one_by_one(self, x: Tensor) -> Tensor:
        """The inverse of `beside`."""
        if self.lanes == 1:
            return x
        n, channels, height, width = x.shape
        each = x.reshape(n, self.lanes, channels // self.lanes, height, width).transpose(0, 1)
        return channels_last(each.reshape(-1, channels // self.lanes, height, width))

    def to_planes(self, x: Tensor) -> Tensor:
        """Converts a batch to the layout `Planes`."""
        n, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(n, height * width, self.groups, channels // self.groups)
        return pixels.permute(2, 0, 1, 3).reshape(self.members, n * self.lanes, -1)

    def from_planes(self, planes: Tensor, height: int, width: int) -> Tensor:
        """The inverse of `to_planes`; height and width of the images."""
        n = planes.shape[1] // self.lanes
        pixels = planes.view(self.groups, n, height, width, -1).permute(1, 2, 3, 0, 4)
        return pixels.reshape(n, height, width, -1).permute(0, 3, 1, 2)


class Planes(Layout):
    """(k, N, pixels * C): one row for each image, so that a convolution is a matrix product."""

    def __init__(self, members: int, height: int, width: int) -> None:
        self.members, self.height, self.width = members, height, width
        self.pixels = height * width

    def channels(self, each: Tensor) -> Tensor:
        return each.view(self.members, 1, -1).repeat(1, 1, self.pixels)

    def by_member(self, each: Tensor, channels: int) -> Tensor:
        return each.view(self.members, -1, 1)

    def sums(self, x: Tensor) -> Tensor:
        return x.sum(dim=(1, 2))

    def sums_of_images(self, x: Tensor) -> Tensor:
        return x.sum(dim=2)

    def normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, device=like.device)

    def pooled(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.pixels, -1).mean(dim=2).transpose(0, 1).flatten(1)

    def spread(self, each: Tensor, like: Tensor) -> Tensor:
        return each.view(len(each), self.members, -1).transpose(0, 1).repeat(1, 1, self.pixels)


def layouts(images: Tensor, model: PreActNetwork) -> tuple[Images, list[Layout]]:
    """Layout of the images, and layouts of the inputs of all blocks followed by that of the last output.

    Args:
        images: (N, C, H, W); only the shape is used.
        model: the network; only widths, strides and noise are used.
    """
    n, _, height, side = images.shape
    members, width, noisy = model.members, model.stem.out_channels, model.gamma > 0
    paired = members == 1 and not noisy and n % 2 == 0 and width <= _NARROW and height <= _SMALL
    entry = Images(members, 2 if paired else 1)
    found: list[Layout] = [entry]
    for block in model.blocks:
        assert isinstance(block, PreActBlock)
        stride = block.conv1.stride[0]
        height, side = -(-height // stride), -(-side // stride)
        # With a stride every path has a convolution, which can change the layout.
        small = isinstance(found[-1], Planes) or (stride > 1 and height * side <= _PLANE)
        found.append(Planes(members, height, side) if small else entry)
    return entry, found


class Layer(ABC):
    """A convolution that reads one layout and writes the same or another."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def back(self, grad: Tensor, entered: Tensor) -> Tensor:
        """Backward pass: gradient with respect to the input.

        Args:
            grad: gradient with respect to the output, in the shape of the output.
            entered: the input.

        Returns:
            The gradient, in the shape of the input; for `Pointwise` only at the pixels that it reads.
        """


def layer(of: nn.Conv2d, weight: Tensor, bias: Tensor | None, before: Layout, after: Layout) -> Layer:
    """The fastest implementation of a convolution.

    Args:
        of: gives kernel size, stride and padding.
        weight, bias: used instead of those of `of`, with the same shapes; None for no bias.
        before, after: layouts of input and output.
    """
    if isinstance(before, Planes):
        assert isinstance(after, Planes)
        return Product(of, weight, bias, before, after)
    assert isinstance(before, Images)
    made: type[Convolution] = Pointwise if of.kernel_size == (1, 1) else Convolution
    plain = made(of, weight, bias, before)
    return Flattened(plain, before, after) if isinstance(after, Planes) else plain


class Convolution(Layer):
    """A convolution by oneDNN. Without stride, the backward pass is a convolution with flipped weights."""

    def __init__(self, of: nn.Conv2d, weight: Tensor, bias: Tensor | None, layout: Images) -> None:
        self.of, self.layout = of, layout
        self.weight = channels_last(weight.repeat(layout.lanes, 1, 1, 1))
        self.bias = None if bias is None else bias.repeat(layout.lanes)

    def __call__(self, x: Tensor) -> Tensor:
        stride, padding = self.of.stride, self.of.padding
        return F.conv2d(x, self.weight, self.bias, stride, padding, groups=self.layout.groups)

    @cached_property
    def reverse(self) -> Tensor:
        """Weights of the convolution that computes the backward pass."""
        by_group = self.weight.unflatten(0, (self.layout.groups, -1)).transpose(1, 2).flip(3, 4)
        return channels_last(by_group.flatten(0, 1))

    def back(self, grad: Tensor, entered: Tensor) -> Tensor:
        of, groups = self.of, self.layout.groups
        if of.stride == (1, 1):
            return F.conv2d(grad, self.reverse, padding=of.padding, groups=groups)
        found: Tensor = torch.ops.aten.convolution_backward(
            grad, entered, self.weight, None, of.stride, of.padding, of.dilation,
            False, [0, 0], groups, [True, False, False],
        )[0]  # fmt: skip
        return found


class Pointwise(Convolution):
    """A 1x1 convolution whose backward pass is a matrix product.

    With a stride, the gradient is computed at the pixels that it reads; at all others it is 0.
    """

    def back(self, grad: Tensor, entered: Tensor) -> Tensor:
        members = self.layout.members
        pixels = grad.permute(0, 2, 3, 1)
        rows = pixels.reshape(-1, members, len(self.weight) // self.layout.groups).transpose(0, 1)
        weight = self.weight[: len(self.weight) // self.layout.lanes].view(members, rows.shape[2], -1)
        back = torch.bmm(rows, weight).transpose(0, 1)
        return back.reshape(*pixels.shape[:3], -1).permute(0, 3, 1, 2)


class Flattened(Layer):
    """A convolution that reads `Images` and writes `Planes`."""

    def __init__(self, plain: Convolution, before: Images, after: Planes) -> None:
        self.plain, self.before, self.after = plain, before, after

    def __call__(self, x: Tensor) -> Tensor:
        return self.before.to_planes(self.plain(x))

    def back(self, grad: Tensor, entered: Tensor) -> Tensor:
        return self.plain.back(self.before.from_planes(grad, self.after.height, self.after.width), entered)


class Product(Layer):
    """A convolution that reads and writes `Planes`, as one matrix product per member.

    The matrix has a block for each pair of input and output pixels: the weights of the kernel position that
    connects them, or zeros.
    """

    def __init__(
        self, of: nn.Conv2d, weight: Tensor, bias: Tensor | None, before: Planes, after: Planes
    ) -> None:
        members, size = before.members, of.kernel_size[0]
        rows = _taps(before.height, after.height, of)
        columns = _taps(before.width, after.width, of)
        tap = rows[:, None, :, None] * size + columns[None, :, None, :]
        # Pairs of pixels that the kernel does not connect get a kernel position of zeros.
        apart = (rows[:, None, :, None] < 0) | (columns[None, :, None, :] < 0)
        tap = tap.masked_fill(apart, size * size).flatten()
        by_tap = weight.unflatten(0, (members, -1)).permute(3, 4, 0, 2, 1).flatten(0, 1)
        joined = F.pad(by_tap.contiguous(), (0, 0, 0, 0, 0, 0, 0, 1))[tap]
        joined = joined.view(before.pixels, after.pixels, *joined.shape[1:]).permute(2, 0, 3, 1, 4)
        self.matrix = joined.reshape(members, before.pixels * joined.shape[2], -1)
        self.bias = None if bias is None else after.channels(bias)

    def __call__(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return torch.bmm(x, self.matrix)
        return torch.baddbmm(self.bias, x, self.matrix)

    def back(self, grad: Tensor, entered: Tensor) -> Tensor:
        return torch.bmm(grad, self.matrix.transpose(1, 2))


def _taps(before: int, after: int, of: nn.Conv2d) -> Tensor:
    """(before, after): the kernel position that connects two pixels along one axis; -1 if there is none."""
    size = of.kernel_size[0]
    first = of.stride[0] * torch.arange(after) - int(of.padding[0])
    tap = torch.arange(before)[:, None] - first
    return tap.masked_fill((tap < 0) | (tap >= size), -1)


class Stem(Layer):
    """The first layer: a 3x3 convolution with padding 1 and stride 1. All members read the same image."""

    def __init__(self, weight: Tensor, layout: Images) -> None:
        self.layout = layout
        self.weight = channels_last(weight.repeat(layout.lanes, 1, 1, 1))
        self.taps = weight.flatten(1).t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=1, groups=self.layout.lanes)

    def back(self, grad: Tensor, entered: Tensor) -> Tensor:
        n, _, height, width = grad.shape
        rows = grad.permute(0, 2, 3, 1).reshape(-1, self.taps.shape[1])
        taps = (self.taps @ rows.t()).view(-1, 3, 3, n, height, width, self.layout.lanes)
        padded = grad.new_zeros(len(taps), n, height + 2, width + 2, self.layout.lanes)
        for i in range(3):
            for j in range(3):
                padded[:, :, i : i + height, j : j + width] += taps[:, i, j]
        inner = padded[:, :, 1:-1, 1:-1]
        return inner.permute(1, 4, 0, 2, 3).reshape(entered.shape)


def channels_last(images: Tensor) -> Tensor:
    """A copy of images (N, C, H, W) in channels-last memory, even for C = 1."""
    return torch.empty_like(images, memory_format=torch.channels_last).copy_(images)
