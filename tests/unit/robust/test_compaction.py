"""The small network inside computes the same as the pruned one."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rtune.robust import MobileNet, Network, PreActResNet, compact, footprint
from tests.support.networks import SMALL


def pruned(name: str, members: int, gamma: float, share: float, seed: int) -> Network:
    """A network with running statistics of its own and a random share of channels at zero."""
    torch.manual_seed(seed)
    model = SMALL[name](members=members, gamma=gamma)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2)
            module.bias.data.normal_(std=0.3)
        if isinstance(module, nn.Conv2d):
            keep = torch.rand(module.groups, 1, module.weight.shape[1], 1) >= share
            grouped = module.weight.data.view(
                module.groups, -1, module.weight.shape[1], module.weight[0, 0].numel()
            )
            module.weight.data = (grouped * keep).view_as(module.weight)
    return model.eval()


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=20, deadline=None)
@given(members=st.integers(1, 3), share=st.floats(0, 1), seed=st.integers(0, 10**6))
def test_compacted_network_has_the_same_logits(name: str, members: int, share: float, seed: int) -> None:
    model = pruned(name, members, 0.0, share, seed)
    images = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(compact(model)(images), model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_compaction_of_half_the_channels_reduces_parameters_and_macs(name: str) -> None:
    model = pruned(name, 2, 0.0, 0.5, seed=0)
    before = sum(p.numel() for p in model.parameters())
    cost = footprint(model, (1, 8, 8))
    assert cost.removable_channels > 0.3
    assert cost.parameters < 0.7 * before


@pytest.mark.parametrize("name", SMALL)
def test_compacted_noisy_network_keeps_its_distribution(name: str) -> None:
    model = pruned(name, 2, 0.1, 0.5, seed=0)
    images = torch.rand(1, 1, 8, 8).expand(4000, -1, -1, -1)
    with torch.no_grad():
        whole, small = model(images), compact(model)(images)
    assert (whole.std(0) > 1e-3).all()
    error = whole.std(0) / 4000**0.5
    assert ((whole.mean(0) - small.mean(0)).abs() < 6 * error + 1e-3).all()
    torch.testing.assert_close(whole.std(0), small.std(0), rtol=0.15, atol=1e-3)


def test_compaction_removes_nothing_from_a_dense_network() -> None:
    model = PreActResNet(20, width=16)
    cost = footprint(model, (3, 32, 32))
    assert cost.removable_channels == 0
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    # 3x3 convolutions of ResNet20 on 32x32 by hand, the 1x1 shortcuts and the linear layer.
    stages = 3 * 16 * 9 * 1024 + 6 * 16 * 16 * 9 * 1024
    stages += (16 * 32 + 5 * 32 * 32) * 9 * 256 + (32 * 64 + 5 * 64 * 64) * 9 * 64
    assert cost.macs == stages + 16 * 32 * 256 + 32 * 64 * 64 + 640


def test_compaction_removes_channels_that_no_convolution_reads() -> None:
    model = PreActResNet(20, width=4, in_channels=1)
    with torch.no_grad():
        model.blocks[1].conv2.weight[:, :2] = 0  # two middle channels
        model.blocks[1].conv1.weight[:, 3] = 0  # one input channel
        model.blocks[3].conv1.weight[:, 0] = 0  # read by the shortcut all the same
    dense = footprint(PreActResNet(20, width=4, in_channels=1), (1, 8, 8))
    cost = footprint(model, (1, 8, 8))
    channels = sum(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    assert cost.removable_channels == pytest.approx(3 / channels)
    # conv1 goes from 4 -> 4 to 3 -> 2, conv2 from 4 -> 4 to 2 -> 4, on 8 x 8 pixels.
    assert dense.macs - cost.macs == ((16 - 6) + (16 - 8)) * 9 * 64
    assert not model.training or model(torch.rand(2, 1, 8, 8)).shape == (2, 10)  # left as it was


def test_mobilenet_compaction_removes_unread_and_zero_filters() -> None:
    model = MobileNet(width=2, in_channels=1, members=2)
    dense = footprint(model, (1, 8, 8))
    first, second = model.blocks[0], model.blocks[1]
    with torch.no_grad():
        first.pointwise.weight[:8, 1] = 0  # the first member's channel 1 is not read
        second.depthwise.weight[8 + 3] = 0  # the second member's channel 3 is zero, and so is its 4
        second.depthwise.weight[8 + 4] = 0
    cost = footprint(model, (1, 8, 8))
    channels = sum(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    # Each is an input channel of the depthwise and of the pointwise convolution.
    assert cost.removable_channels == pytest.approx(2 * 3 / channels)
    one, two = compact(model).members
    assert [m.blocks[0].depthwise.groups for m in (one, two)] == [3, 4]
    assert [m.blocks[1].depthwise.groups for m in (one, two)] == [8, 6]
    assert two.blocks[1].read.index.tolist() == [0, 1, 2, 5, 6, 7]
    # A channel of block 0 on 8 x 8 pixels feeds 8 others; of block 1, on 4 x 4, 16 others.
    assert dense.macs - cost.macs == (9 + 8) * 64 + 2 * (9 + 16) * 16
    assert dense.parameters - cost.parameters == (9 + 2 + 8) + 2 * (9 + 2 + 16)


def test_macs_of_a_mobilenet_by_hand() -> None:
    channels = [32, 64, 128, 128, 256, 256, *6 * [512], 1024, 1024]
    side = [32, 16, 16, 8, 8, *6 * [4], 2, 2]
    macs = 3 * 32 * 9 * 32 * 32 + 1024 * 10
    for before, after, pixels in zip(channels, channels[1:], side, strict=False):
        macs += (9 * before + before * after) * pixels**2
    assert footprint(MobileNet(width=16), (3, 32, 32)).macs == macs


class Odd(PreActResNet):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.blocks.append(nn.ReLU())


def test_block_without_a_compaction_rule_is_named_in_the_error() -> None:
    with pytest.raises(TypeError, match="a ReLU cannot be compacted"):
        compact(Odd(width=2))
