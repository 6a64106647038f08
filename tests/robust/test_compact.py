"""The small network inside computes the same as the pruned one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rtune.robust import PreActResNet, compact, footprint


def pruned(members: int, gamma: float, share: float, seed: int) -> PreActResNet:
    """A network with running statistics of its own and a random share of channels at zero."""
    torch.manual_seed(seed)
    model = PreActResNet(20, width=4, in_channels=1, members=members, gamma=gamma)
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


@settings(max_examples=30, deadline=None)
@given(members=st.integers(1, 3), share=st.floats(0, 1), seed=st.integers(0, 10**6))
def test_same_logits(members: int, share: float, seed: int) -> None:
    model = pruned(members, 0.0, share, seed)
    images = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(compact(model)(images), model(images), rtol=1e-4, atol=1e-4)


def test_a_noisy_network_keeps_its_distribution() -> None:
    model = pruned(2, 0.1, 0.5, seed=0)
    images = torch.rand(1, 1, 8, 8).expand(4000, -1, -1, -1)
    with torch.no_grad():
        whole, small = model(images), compact(model)(images)
    error = whole.std(0) / 4000**0.5
    assert ((whole.mean(0) - small.mean(0)).abs() < 6 * error + 1e-3).all()
    torch.testing.assert_close(whole.std(0), small.std(0), rtol=0.15, atol=1e-3)


def test_nothing_is_cut_from_a_dense_network() -> None:
    model = PreActResNet(20, width=16)
    cost = footprint(model, (3, 32, 32))
    assert cost.removable_channels == 0
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    # 3x3 convolutions of ResNet20 on 32x32 by hand, the 1x1 shortcuts and the linear layer.
    stages = 3 * 16 * 9 * 1024 + 6 * 16 * 16 * 9 * 1024
    stages += (16 * 32 + 5 * 32 * 32) * 9 * 256 + (32 * 64 + 5 * 64 * 64) * 9 * 64
    assert cost.macs == stages + 16 * 32 * 256 + 32 * 64 * 64 + 640


def test_channels_are_cut_where_nobody_reads_them() -> None:
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
