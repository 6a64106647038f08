"""Parts of all networks: the base class, the noise, and layers of ensembles.

An ensemble is one network. Its tensors contain the channels of all members one after the other, and its
convolutions have one group for each member, so that a layer of k members is one call instead of k.
"""

import copy
import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

M = TypeVar("M", bound=nn.Module)

# What the standard deviation that scales the noise is taken over; see `add_noise`.
NoiseScale = Literal["batch", "image"]


class Network(nn.Module):
    """An ensemble of k members without shared weights; its logits are the mean of the members' logits.

    A subclass sets `stem`, `blocks` and `head`, and defines in `features` how they are connected. In all its
    parameters the members follow one another along the first axis.

    Args:
        in_channels: number of channels of the images.
        classes: number of classes.
        members: k, the size of the ensemble.
        gamma: strength of the noise after each block; 0 for a network without noise.
        **shape: the other arguments of the subclass, all at least 1.

    Attributes:
        settings: the arguments of the subclass, without `members` and `gamma`.

    Raises:
        ValueError: a size is below 1, or `gamma` below 0.
    """

    stem: nn.Module
    blocks: nn.Sequential
    head: "EnsembleLinear"

    def __init__(self, in_channels: int, classes: int, members: int, gamma: float, **shape: int) -> None:
        super().__init__()
        self.settings = {"in_channels": in_channels, "classes": classes, **shape}
        for name, value in {**self.settings, "members": members}.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if not gamma >= 0:
            raise ValueError(f"gamma is {gamma}; it must be at least 0")
        self.in_channels = in_channels
        self.members = members

    @property
    def gamma(self) -> float:
        """The largest noise strength of all blocks; 0 without noise."""
        return max(_gammas(self), default=0.0)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, in_channels, H, W) with pixels in [0, 1]."""
        x = images.repeat(1, self.members, 1, 1) if self.members > 1 else images
        logits: Tensor = self.head(self.features(x).mean(dim=(2, 3)))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Features before pooling: (N, members * in_channels, H, W) -> (N, members * C, h, w)."""
        raise NotImplementedError


class Noise(nn.Module):
    """The layer `add_noise`, active in training and in evaluation mode; the identity if `gamma` is 0.

    Args:
        gamma, members, scale: as in `add_noise`.

    Raises:
        ValueError: `scale` is neither `batch` nor `image`.
    """

    def __init__(self, gamma: float, members: int, scale: NoiseScale = "batch") -> None:
        super().__init__()
        if scale not in get_args(NoiseScale):
            raise ValueError(f"noise_scale is {scale!r}; it must be one of {', '.join(get_args(NoiseScale))}")
        self.gamma = gamma
        self.members = members
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return add_noise(x, self.gamma, self.members, self.scale) if self.gamma > 0 else x

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}, members={self.members}, scale={self.scale}"


class EnsembleLinear(nn.Module):
    """One linear layer for each member, on the features of that member; the mean of their logits."""

    def __init__(self, features: int, classes: int, members: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(features)
        self.weight = nn.Parameter(torch.empty(members, classes, features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, classes).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(N, members * features) -> (N, classes)."""
        members, classes, features = self.weight.shape
        if members == 1:
            return F.linear(x, self.weight[0], self.bias[0])
        flat = self.weight.transpose(0, 1).reshape(classes, members * features)
        return F.linear(x, flat) / members + self.bias.mean(dim=0)


def add_noise(x: Tensor, gamma: float, members: int, scale: NoiseScale = "batch") -> Tensor:
    """x + gamma * std(x) * N(0, 1), in training and in evaluation mode (arXiv 2003.00631, section 2.2).

    With `batch`, std is over the whole tensor of each member, as in the paper: the noise of an image depends
    on the images beside it. With `image`, it is over each image's part of the tensor alone. For a single
    image both are the same.

    Args:
        x: (N, members * C, H, W).
        gamma: strength of the noise, at least 0; 0.1 in the paper.
        members: size of the ensemble.
        scale: `batch` or `image`.
    """
    if scale == "image":
        return torch.addcmul(x, _normal_like(x), _spread_of_each(x, members).to(x.dtype), value=gamma)
    if members == 1:
        return x + gamma * x.std() * _normal_like(x)
    # Sum each channel first: a reduction over axes that are not adjacent in memory is slow.
    channels = x.shape[1] // members
    exact = x.float()
    mean = exact.mean(dim=(0, 2, 3)).view(members, channels).mean(dim=1)
    away = (exact - _by_channel(mean, channels)).square().sum(dim=(0, 2, 3))
    variance = away.view(members, channels).sum(dim=1) / (x.numel() // members - 1)
    spread = variance > 0  # at 0 the square root has no finite gradient
    std = torch.where(spread, variance, 1).sqrt() * spread
    return torch.addcmul(x, _normal_like(x), _by_channel(std, channels).to(x.dtype), value=gamma)


def _spread_of_each(x: Tensor, members: int) -> Tensor:
    """Standard deviation (with n - 1) of each image in each member, repeated for the member's channels.

    (N, members * C, H, W) -> (N, members * C, 1, 1), float32.
    """
    exact = x.float().unflatten(1, (members, -1))
    away = exact - exact.mean(dim=(2, 3, 4), keepdim=True)
    variance = away.square().sum(dim=(2, 3, 4)) / max(1, math.prod(exact.shape[2:]) - 1)
    spread = variance > 0  # at 0 the square root has no finite gradient
    std: Tensor = torch.where(spread, variance, 1).sqrt() * spread
    return std.repeat_interleave(exact.shape[2], dim=1)[:, :, None, None]


def _by_channel(each: Tensor, channels: int) -> Tensor:
    """One number for each member, (members,), repeated for its channels: (1, members * channels, 1, 1)."""
    return each.repeat_interleave(channels).view(1, -1, 1, 1)


def _normal_like(x: Tensor) -> Tensor:
    """N(0, 1) numbers with the shape and memory layout of x; in this layout a CPU draws six times as fast."""
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return torch.randn_like(x)
    n, channels, height, width = x.shape
    drawn = torch.randn(n, height, width, channels, dtype=x.dtype, device=x.device)
    return drawn.permute(0, 3, 1, 2)


class Conv2d(nn.Conv2d):
    """A convolution whose computation on a GPU an engine can replace.

    Attributes:
        kernel: `kernel(x, layer)` gives `layer(x)`, used under autocast on a GPU; None for the default.
    """

    kernel: Callable[[Tensor, nn.Conv2d], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel is not None and x.is_cuda and torch.is_autocast_enabled("cuda"):
            return self.kernel(x, self)
        return super().forward(x)


def conv(channels: int, out: int, kernel: int, groups: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias, with padding kernel // 2 and He-normal weights.

    Args:
        channels, out: input and output channels of each group.
        kernel: height and width of the kernel, odd.
        groups: number of groups: the members of an ensemble; for a depthwise convolution members * channels.
        stride: by which height and width are divided, rounded up.
    """
    layer = Conv2d(
        groups * channels,
        groups * out,
        kernel,
        stride=stride,
        padding=kernel // 2,
        groups=groups,
        bias=False,
    )
    # He-normal with the fan-out of one group; the initialiser of torch uses the fan-out of all groups.
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (out * kernel * kernel)))
    return layer


@torch.no_grad()
def split_members(model: Network) -> list[Network]:
    """A copy of each member as a separate network, in evaluation mode, on the same device."""
    return [_member(model, m) for m in range(model.members)]


def _member(model: Network, m: int) -> Network:
    settings: dict[str, Any] = model.settings
    with torch.device("meta"):  # no initial weights are drawn: they are replaced below
        member = type(model)(**settings, members=1, gamma=0.0)
    state = {k: v.chunk(model.members)[m] if v.dim() else v for k, v in model.state_dict().items()}
    member.load_state_dict({k: v.clone() for k, v in state.items()}, assign=True)
    for own, whole in zip(_noises(member), _noises(model), strict=True):
        own.gamma, own.scale = whole.gamma, whole.scale
    return member.eval()


def is_noisy(model: nn.Module) -> bool:
    """Whether the network has noise: two forward passes of the same images may differ."""
    return any(gamma > 0 for gamma in _gammas(model))


def depends_on_batch(model: nn.Module) -> bool:
    """Whether the logits of an image depend on the images beside it in evaluation mode, through noise."""
    return any(noise.gamma > 0 and noise.scale == "batch" for noise in _noises(model))


def quiet(model: M) -> M:
    """A copy without noise: the same weights and mode, and every gamma 0."""
    twin = copy.deepcopy(model)
    for noise in _noises(twin):
        noise.gamma = 0.0
    return twin


def _noises(model: nn.Module) -> list[Noise]:
    return [m for m in model.modules() if isinstance(m, Noise)]


def _gammas(model: nn.Module) -> list[float]:
    return [noise.gamma for noise in _noises(model)]
