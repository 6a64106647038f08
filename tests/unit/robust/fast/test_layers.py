"""Layers as a CPU computes them best give what PyTorch's convolution gives, forth and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from rtune.robust import PGD, PreActResNet
from rtune.robust.fast.cpu.folded import FoldedPGD
from rtune.robust.fast.cpu.layers import (
    Flattened,
    Images,
    Layout,
    Planes,
    Pointwise,
    Product,
    Stem,
    layer,
    layouts,
)
from rtune.robust.models import PlainNet, WideResNet
from rtune.robust.models.resnet import PreActNetwork


def laid(x: Tensor, layout: Layout, before: Images) -> Tensor:
    """Ordinary images in a layout."""
    beside = before.beside(x)
    return before.to_planes(beside) if isinstance(layout, Planes) else beside


def ordinary(x: Tensor, layout: Layout, before: Images) -> Tensor:
    if isinstance(layout, Planes):
        x = before.from_planes(x, layout.height, layout.width)
    return before.one_by_one(x)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, Tensor, Images, Layout, Layout]:
    """A convolution of a network, images, and the layouts before and after it."""
    members = draw(st.integers(1, 3))
    lanes = draw(st.sampled_from([1, 2])) if members == 1 else 1
    channels, out = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    size, stride = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2]))
    torch.manual_seed(draw(st.integers(0, 99)))
    conv = nn.Conv2d(channels * members, out * members, size, stride, size // 2, groups=members, bias=False)
    images = torch.randn(2 * draw(st.integers(1, 3)), channels * members, height, width)
    entry = Images(members, lanes)
    after_height, after_width = -(-height // stride), -(-width // stride)
    before: Layout = entry
    if height * width <= 4 and draw(st.booleans()):
        before = Planes(members, height, width)
    after: Layout = entry
    if isinstance(before, Planes) or after_height * after_width <= 4:
        after = Planes(members, after_height, after_width)
    return conv, images, entry, before, after


@settings(deadline=None)
@given(convolutions())
def test_layer_agrees_with_convolution_and_its_gradient(
    made: tuple[nn.Conv2d, Tensor, Images, Layout, Layout],
) -> None:
    conv, images, entry, before, after = made
    bias = torch.randn(conv.out_channels)
    images.requires_grad_()
    expected = F.conv2d(images, conv.weight, bias, conv.stride, conv.padding, groups=conv.groups)
    grad = torch.randn_like(expected)
    (back,) = torch.autograd.grad(expected, images, grad)
    with torch.no_grad():
        ours = layer(conv, conv.weight, bias, before, after)
        entered = laid(images, before, entry)
        given = ordinary(ours(entered), after, entry)
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)
        found = ours.back(laid(grad, after, entry), entered)
        if isinstance(before, Images) and conv.kernel_size == (1, 1):
            stride = conv.stride[0]
            whole = torch.zeros_like(entered)
            whole[..., ::stride, ::stride] = found
            found = whole
        torch.testing.assert_close(ordinary(found, before, entry), back, rtol=1e-4, atol=1e-4)


@settings(deadline=None)
@given(st.integers(1, 3), st.sampled_from([1, 2]), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
def test_stem_agrees_with_convolution_and_its_gradient(
    members: int, lanes: int, channels: int, height: int, width: int
) -> None:
    layout = Images(members, 1 if members > 1 else lanes)
    torch.manual_seed(0)
    images, weight = torch.randn(4, channels, height, width), torch.randn(3 * members, channels, 3, 3)
    images.requires_grad_()
    expected = F.conv2d(images, weight, padding=1)
    grad = torch.randn_like(expected)
    (back,) = torch.autograd.grad(expected, images, grad)
    with torch.no_grad():
        ours = Stem(weight, layout)
        entered = layout.beside(images)
        torch.testing.assert_close(layout.one_by_one(ours(entered)), expected, rtol=1e-4, atol=1e-4)
        found = ours.back(layout.beside(grad), entered)
        torch.testing.assert_close(layout.one_by_one(found), back, rtol=1e-4, atol=1e-4)


@settings(deadline=None)
@given(st.integers(1, 3), st.sampled_from([1, 2]), st.integers(1, 2), st.integers(1, 2))
def test_layout_round_trip_keeps_images_channels_and_members(
    members: int, lanes: int, height: int, width: int
) -> None:
    images = Images(members, 1 if members > 1 else lanes)
    x = torch.randn(4, members * 3, height, width)
    each, scale = torch.randn(4, members * 3), torch.randn(members * 3)
    strength = torch.randn(members)
    for layout in (images, Planes(members, height, width)):
        batch = laid(x, layout, images)
        torch.testing.assert_close(ordinary(batch, layout, images), x)
        torch.testing.assert_close(layout.pooled(batch), x.mean(dim=(2, 3)))
        spread = ordinary(layout.spread(each, batch), layout, images)
        torch.testing.assert_close(spread, each[:, :, None, None].expand_as(x))
        scaled = ordinary(batch * layout.channels(scale), layout, images)
        torch.testing.assert_close(scaled, x * scale.view(1, -1, 1, 1))
        if images.lanes == 1:
            by_member = x.unflatten(1, (members, 3))
            torch.testing.assert_close(layout.sums(batch), by_member.sum(dim=(0, 2, 3, 4)))
            stronger = ordinary(batch * layout.by_member(strength, members * 3), layout, images)
            torch.testing.assert_close(stronger, (by_member * strength.view(1, -1, 1, 1, 1)).flatten(1, 2))
            assert layout.normal(batch).shape == batch.shape


def test_layout_is_rows_for_small_images_and_pairs_for_few_channels() -> None:
    entry, found = layouts(torch.empty(6, 1, 8, 8), PreActResNet(20, in_channels=1))
    assert entry.lanes == 2
    assert [type(layout) for layout in found] == 7 * [Images] + 3 * [Planes]
    for images, model in [
        (torch.empty(7, 1, 8, 8), PreActResNet(20)),
        (torch.empty(6, 1, 8, 8), PreActResNet(20, members=2)),
        (torch.empty(6, 1, 8, 8), PreActResNet(20, width=32)),
        (torch.empty(6, 1, 8, 8), PreActResNet(20, gamma=0.1)),
        (torch.empty(6, 3, 32, 32), PreActResNet(20)),
    ]:
        assert layouts(images, model)[0].lanes == 1
    conv = nn.Conv2d(4, 4, 3, 2, 1, bias=False)
    plain, planes = Images(1, 1), Planes(1, 2, 2)
    made = layer(conv, conv.weight, None, plain, planes)
    assert isinstance(made, Flattened)
    assert isinstance(layer(conv, conv.weight, None, planes, Planes(1, 1, 1)), Product)
    point = nn.Conv2d(4, 4, 1, 2, bias=False)
    assert isinstance(layer(point, point.weight, None, plain, plain), Pointwise)


SHAPES = [(8, 1, 8, 8), (7, 1, 8, 8), (6, 3, 12, 10), (4, 1, 5, 3), (4, 2, 1, 1)]


def network(kind: type[PreActNetwork], channels: int, members: int) -> PreActNetwork:
    """With statistics and normalisations of no special values."""
    torch.manual_seed(0)
    sizes = {"depth": 10, "widen": 2, "width": 4} if kind is WideResNet else {"depth": 20, "width": 4}
    model: PreActNetwork = kind(**sizes, in_channels=channels, members=members).double()  # type: ignore[call-arg]
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.get_buffer("running_mean"), 0, 0.1)
        nn.init.uniform_(norm.get_buffer("running_var"), 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.1)
    return model


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [PreActResNet, PlainNet, WideResNet])
@pytest.mark.parametrize("members", [1, 2])
def test_cpu_attack_agrees_with_the_plain_attack(
    shape: tuple[int, int, int, int], kind: type[PreActNetwork], members: int
) -> None:
    """Of one step without a random start: each pixel goes where its gradient's sign says."""
    model = network(kind, shape[1], members).eval()
    images, labels = torch.rand(shape, dtype=torch.double), torch.randint(10, (shape[0],))
    attack = PGD(0.03, 0.02, 1, random_start=False)
    torch.testing.assert_close(FoldedPGD(model, attack)(model, images, labels), attack(model, images, labels))
