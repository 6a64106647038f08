"""Networks: the paper's shapes, the noise, and an ensemble as k separate networks."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rtune.robust import PreActResNet
from rtune.robust.compact import split_members
from rtune.robust.models import DEPTHS, add_noise


@pytest.mark.parametrize("depth", DEPTHS)
def test_depth_counts_the_weighted_layers(depth: int) -> None:
    model = PreActResNet(depth, width=2)
    threes = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(threes) + 1 == depth  # the linear layer is the other one
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) for m in model.modules()) == 2


def test_resnet20_has_the_size_of_the_paper() -> None:
    # Stem 3*16*9; stages of 16, 32, 64; two 1x1 shortcuts; batch norms; head: worked out by hand.
    convs = 3 * 16 * 9 + 6 * 16 * 16 * 9 + 16 * 32 * 9 + 5 * 32 * 32 * 9 + 32 * 64 * 9 + 5 * 64 * 64 * 9
    shortcuts = 16 * 32 + 32 * 64
    norms = 2 * (6 * 16 + 16 + 5 * 32 + 32 + 5 * 64 + 64)
    model = PreActResNet(20)
    assert sum(p.numel() for p in model.parameters()) == convs + shortcuts + norms + 64 * 10 + 10


@pytest.mark.parametrize("size", [8, 28, 32])
def test_stages_halve_the_image(size: int) -> None:
    model = PreActResNet(20, width=4, in_channels=1)
    shapes: list[int] = []
    for block in model.blocks:
        block.register_forward_hook(lambda _m, _i, out: shapes.append(out.shape[2]))
    assert model(torch.rand(2, 1, size, size)).shape == (2, 10)
    half = math.ceil(size / 2)
    assert shapes == [size] * 3 + [half] * 3 + [math.ceil(half / 2)] * 3


def test_he_normal_by_the_fan_out_of_one_member() -> None:
    torch.manual_seed(0)
    model = PreActResNet(20, width=32, members=3)
    conv = model.blocks[-1].conv2
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)


def test_an_ensemble_is_the_average_of_its_members() -> None:
    torch.manual_seed(0)
    model = PreActResNet(20, width=4, in_channels=1, members=3)
    model.train()
    model(torch.rand(32, 1, 8, 8))  # running statistics of its own for each member
    model.eval()
    images = torch.rand(5, 1, 8, 8)
    apart = torch.stack([member(images) for member in split_members(model)]).mean(dim=0)
    torch.testing.assert_close(model(images), apart)


def test_members_train_as_separate_networks_on_the_averaged_logits() -> None:
    torch.manual_seed(0)
    model = PreActResNet(20, width=2, in_channels=1, members=2).eval()
    members = [m.requires_grad_() for m in split_members(model)]
    images, labels = torch.rand(8, 1, 8, 8), torch.randint(10, (8,))
    F.cross_entropy(model(images), labels).backward()
    F.cross_entropy(torch.stack([m(images) for m in members]).mean(0), labels).backward()
    for m, member in enumerate(members):
        own = model.blocks[4].conv1.weight.grad.chunk(2)[m]
        torch.testing.assert_close(own, member.blocks[4].conv1.weight.grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(model.head.bias.grad[m], member.head.bias.grad[0])


@pytest.mark.parametrize("members", [1, 2])
def test_noise_has_the_spread_of_the_paper(members: int) -> None:
    torch.manual_seed(0)
    x = torch.cat([torch.randn(64, 8, 16, 16) * (m + 1) for m in range(members)], dim=1)
    noise = (add_noise(x, 0.1, members) - x).chunk(members, dim=1)
    for m in range(members):
        assert noise[m].std().item() == pytest.approx(0.1 * (m + 1), rel=0.02)
        assert abs(noise[m].mean().item()) < 0.002


@pytest.mark.parametrize("mode", [True, False])
def test_noise_is_on_in_training_and_in_evaluation(mode: bool) -> None:
    images = torch.rand(4, 3, 16, 16)
    noisy = PreActResNet(20, width=4, gamma=0.1).train(mode)
    assert not torch.equal(noisy(images), noisy(images))
    quiet = PreActResNet(20, width=4).train(mode)
    assert torch.equal(quiet(images), quiet(images))


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="depth is 21"):
        PreActResNet(21)
    with pytest.raises(ValueError, match="at least 1"):
        PreActResNet(members=0)
