"""The attack as a chain of layers, and its convolutions, against PyTorch's own.

The kernels for a GPU run in Triton's interpreter where there is none.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

pytest.importorskip("triton")

from rtune.robust import PGD, MobileNet, PlainNet, PreActResNet, WideResNet
from rtune.robust.attacks import pgd as plain
from rtune.robust.fast import chain
from rtune.robust.fast.cpu import folded
from rtune.robust.fast.cpu.layers import Images
from rtune.robust.fast.gpu import convolution, fused
from rtune.robust.models.parts import NoiseScale, conv
from rtune.robust.models.resnet import PreActNetwork

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def lively(model: PreActNetwork) -> PreActNetwork:
    """In evaluation mode, with statistics as after some training."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor, low, high in (
                (norm.running_mean, -0.3, 0.3),
                (norm.running_var, 0.5, 2.0),
                (norm.weight, 0.5, 1.5),
                (norm.bias, -0.3, 0.3),
            ):
                assert tensor is not None
                nn.init.uniform_(tensor, low, high)
    return model.to(DEVICE).eval()


def images(channels: int, count: int = 2, side: int = 4) -> tuple[Tensor, Tensor]:
    return torch.rand(count, channels, side, side, device=DEVICE), torch.randint(10, (count,), device=DEVICE)


NETWORKS: list[tuple[type[PreActNetwork], dict[str, Any], int]] = [
    (PreActResNet, {"depth": 20, "width": 3}, 3),
    (PreActResNet, {"depth": 20, "width": 2, "members": 2}, 1),
    (PlainNet, {"depth": 20, "width": 4}, 3),
    (WideResNet, {"depth": 10, "widen": 2, "width": 9}, 1),
]


Make = Callable[[PreActNetwork, PGD], chain.ChainedPGD]
WAYS: dict[str, Make] = {
    "fused": lambda model, attack: fused.FusedPGD(model, attack, torch.float32),
    "folded": folded.FoldedPGD,
}


@pytest.fixture(params=WAYS)
def make(request: pytest.FixtureRequest) -> Make:
    return WAYS[request.param]


@pytest.mark.parametrize(("kind", "settings", "channels"), NETWORKS)
def test_chain_attack_agrees_with_pgd(
    make: Make, kind: type[PreActNetwork], settings: dict[str, Any], channels: int
) -> None:
    torch.manual_seed(0)
    model = lively(kind(in_channels=channels, **settings))
    x, y = images(channels)
    attack = PGD(8 / 255, 2 / 255, 2, random_start=False)
    made = make(model, attack)(model, x, y)
    # A sign may turn where a gradient is nothing but rounding.
    assert ((made - attack(model, x, y)).abs() > 1e-6).float().mean() < 0.01
    assert (made != x).float().mean() > 0.5


def test_random_start_stays_in_the_ball_and_in_the_image_range(make: Make) -> None:
    torch.manual_seed(0)
    model = lively(PreActResNet(20, width=2, in_channels=1))
    x, y = images(1)
    attack = PGD(0.3, 0.2, 1)
    first, second = (make(model, attack)(model, x, y) for _ in range(2))
    for made in (first, second):
        assert (made - x).abs().max() <= 0.3 + 1e-6
        assert made.min() >= 0
        assert made.max() <= 1
    assert not torch.equal(first, second)


@pytest.mark.parametrize("members", [1, 2])
def test_attack_on_a_network_of_zeros_does_not_change_the_image(make: Make, members: int) -> None:
    """Its activations have no spread for the noise to follow; they are constants that round."""
    model = lively(PlainNet(20, width=2, in_channels=1, members=members, gamma=0.5))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.zero_()
    x, y = images(1)
    assert torch.equal(make(model, PGD(0.1, 0.1, 1, random_start=False))(model, x, y), x)


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize(("way", "scale"), [("fused", "batch"), ("folded", "batch"), ("folded", "image")])
def test_gradient_includes_the_noise(
    way: str, scale: NoiseScale, members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The noise that the chain drew is read off, and autograd differentiates with the same."""
    torch.manual_seed(0)
    make, over = WAYS[way], (2, 3, 4) if scale == "image" else (0, 2, 3, 4)
    model = lively(PreActResNet(20, width=2, in_channels=1, members=members, gamma=0.5, noise_scale=scale))
    x, y = images(1)
    attack = PGD(8 / 255, 2 / 255, 1, random_start=False)
    drawn: list[Tensor] = []
    rows = Images(members, 1)
    ours = make(model, attack)
    perturb = ours._perturb

    def noting(before: Tensor, *rest: Any) -> Any:
        noisy, activated, noise = perturb(before, *rest)
        # On a CPU images that were halved to 2x2 pixels and then to one are rows of a matrix.
        side = 2 if len(drawn) < 6 else 1
        as_images = (t if t.ndim == 4 else rows.from_planes(t, side, side) for t in (before, noisy))
        parts, after = (t.unflatten(1, (members, -1)) for t in as_images)
        drawn.append((after - parts) / (0.5 * parts.std(dim=over, keepdim=True)))
        return noisy, activated, noise

    monkeypatch.setattr(ours, "_perturb", noting)
    made = ours(model, x, y)
    again = iter([d.flatten(1, 2) for d in drawn])
    monkeypatch.setattr(torch, "randn_like", lambda _: next(again))
    gradient = plain.input_gradient(model, x, y)
    expected = (x + 2 / 255 * gradient.sign()).clamp(0, 1)
    assert ((made - expected).abs() > 1e-6).float().mean() < 0.01
    noise = torch.cat([d.flatten() for d in drawn])
    assert abs(noise.mean()) < 0.1
    assert abs(noise.std() - 1) < 0.1


@pytest.mark.parametrize(
    ("channels", "out", "kernel", "groups", "stride"),
    [(3, 16, 3, 1, 1), (5, 7, 3, 2, 2), (4, 6, 1, 3, 2), (70, 66, 1, 1, 1)],
)
def test_fused_convolution_and_its_gradients_agree_with_pytorch(
    channels: int, out: int, kernel: int, groups: int, stride: int
) -> None:
    torch.manual_seed(0)
    layer = conv(channels, out, kernel, groups, stride).to(DEVICE)
    x = torch.randn(3, groups * channels, 7, 7, device=DEVICE, requires_grad=True)
    found = convolution.convolve(x, layer, torch.float32)
    weights = torch.randn_like(found)
    ours = torch.autograd.grad((found * weights).sum(), [x, layer.weight])
    expected = F.conv2d(x, layer.weight, stride=stride, padding=kernel // 2, groups=groups)
    theirs = torch.autograd.grad((expected * weights).sum(), [x, layer.weight])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_there_is_no_kernel_for_noise_that_is_scaled_by_image() -> None:
    """Such a network trains on a GPU with PyTorch's own attack."""
    attack = PGD(0.1, 0.1, 1)
    for gamma, scale, fits in ((0.1, "batch", True), (0.1, "image", False), (0.0, "image", True)):
        model = PreActResNet(20, width=2, gamma=gamma, noise_scale=scale)
        assert fused.fits(model, attack) is fits
        assert chain.fits(model, attack)


def test_unsupported_layers_use_pytorch() -> None:
    model, attack = PreActResNet(20, width=2), PGD(0.1, 0.1, 1)
    assert fused.fits(model, attack)
    assert not fused.fits(MobileNet(width=2), attack)
    assert not fused.fits(WideResNet(10, widen=10, width=16), attack)
    for other in (PGD(0.1, 0.1, 1, eot_draws=2), PGD(0.1, 0.1, 1, restarts=2), plain.cw(0.1, 0.1, 1)):
        assert not fused.fits(model, other)
