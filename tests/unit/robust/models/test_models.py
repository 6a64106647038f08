"""Networks: the shapes of the papers, the noise, and an ensemble as k separate networks."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rtune.robust import MobileNet, PlainNet, PreActResNet, WideResNet, compact, is_noisy, quiet
from rtune.robust.models import DEPTHS, add_noise, depends_on_batch, parts, split_members
from tests.support.networks import SMALL


def convolutions(model: nn.Module, kernel: int) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (kernel, kernel)]


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("depth", DEPTHS)
def test_depth_counts_the_weighted_layers(depth: int) -> None:
    for network, shortcuts in ((PreActResNet, 2), (PlainNet, 0)):
        model = network(depth, width=2)
        assert len(convolutions(model, 3)) + 1 == depth  # the linear layer is the other one
        assert len(convolutions(model, 1)) == shortcuts


@pytest.mark.parametrize("depth", [10, 16, 28, 34, 40])
def test_depth_of_a_wideresnet_counts_its_convolutions(depth: int) -> None:
    model = WideResNet(depth, widen=2, width=2)
    assert len(convolutions(model, 1)) == 3
    assert len(convolutions(model, 3)) + 3 == depth


def test_resnet20_has_the_size_of_the_paper() -> None:
    # Stem 3*16*9; stages of 16, 32, 64; two 1x1 shortcuts; batch norms; head: worked out by hand.
    convs = 3 * 16 * 9 + 6 * 16 * 16 * 9 + 16 * 32 * 9 + 5 * 32 * 32 * 9 + 32 * 64 * 9 + 5 * 64 * 64 * 9
    shortcuts = 16 * 32 + 32 * 64
    norms = 2 * (6 * 16 + 16 + 5 * 32 + 32 + 5 * 64 + 64)
    head = 64 * 10 + 10
    assert parameters(PreActResNet(20)) == convs + shortcuts + norms + head
    assert parameters(PlainNet(20)) == convs + norms + head


def test_large_networks_have_their_published_sizes() -> None:
    with torch.device("meta"):  # shapes alone
        # The network of TRADES and RobustBench for CIFAR-10.
        assert parameters(WideResNet(34, widen=10)) == 46_160_474
        # The ImageNet MobileNet of arXiv 1704.04861, said to have 4.2 million.
        assert parameters(MobileNet(width=16, classes=1000)) == 4_231_976
        small = MobileNet(width=16, classes=10)
    channels = [32, 64, 128, 128, 256, 256, *6 * [512], 1024, 1024]
    by_hand = 3 * 32 * 9 + 2 * 32 + 1024 * 10 + 10
    for before, after in itertools.pairwise(channels):
        by_hand += 9 * before + 2 * before + before * after + 2 * after
    assert parameters(small) == by_hand == 3_217_226


def sizes(model: nn.Module, image: int) -> list[int]:
    """Side of the image after each block."""
    found: list[int] = []
    for block in model.blocks:
        block.register_forward_hook(lambda _m, _i, out: found.append(out.shape[2]))
    assert model(torch.rand(2, 1, image, image)).shape == (2, 10)
    return found


@pytest.mark.parametrize("size", [8, 28, 32])
def test_stages_halve_the_image(size: int) -> None:
    half, quarter, eighth, sixteenth = (math.ceil(size / n) for n in (2, 4, 8, 16))
    for name in ("resnet", "plain"):
        assert sizes(SMALL[name](), size) == [size] * 3 + [half] * 3 + [quarter] * 3
    assert sizes(SMALL["wideresnet"](), size) == [size, half, quarter]
    assert sizes(SMALL["mobilenet"](), size) == [
        size, half, half, quarter, quarter, *6 * [eighth], sixteenth, sixteenth
    ]  # fmt: skip


@pytest.mark.parametrize("size", [8, 28, 32])
def test_every_network_takes_the_data_sets_images_and_classes(size: int) -> None:
    channels = 3 if size == 32 else 1
    for network in (
        PreActResNet(20, 2, channels, 100, members=2, gamma=0.1),
        PlainNet(20, 2, channels, 100, members=2, gamma=0.1),
        WideResNet(10, 2, 2, channels, 100, members=2, gamma=0.1),
        MobileNet(1, channels, 100, members=2, gamma=0.1),
    ):
        logits = network(torch.rand(3, channels, size, size))
        assert logits.shape == (3, 100)
        logits.sum().backward()
        assert all(p.grad.isfinite().all() for p in network.parameters())


def test_initial_weights_are_he_normal_by_the_fan_out_of_one_group() -> None:
    torch.manual_seed(0)
    model = PreActResNet(20, width=32, members=3)
    conv = model.blocks[-1].conv2
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)
    block = MobileNet(width=8, members=3).blocks[-1]
    assert block.depthwise.weight.std().item() == pytest.approx(math.sqrt(2 / 9), rel=0.02)
    assert block.pointwise.weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.02)


def test_plain_block_has_no_skip_connection() -> None:
    x = torch.randn(2, 4, 8, 8)
    for network, passes in ((PreActResNet, x), (PlainNet, torch.zeros_like(x))):
        block = network(20, width=4).blocks[1]
        block.conv2.weight.data.zero_()
        assert torch.equal(block(x), passes)


def test_separable_block_filters_each_channel_separately() -> None:
    block = MobileNet(width=2, members=2).eval().blocks[0]
    x = torch.rand(2, 8, 6, 6)
    changed = x.clone()
    changed[:, 3] = 0
    differs = (block.depthwise(x) != block.depthwise(changed)).any(dim=(0, 2, 3))
    assert differs.nonzero().flatten().tolist() == [3]
    # The first member's channel 3 reaches all of the first member, and nothing of the second.
    reached = (block(x) != block(changed)).flatten(2).any(dim=2).any(dim=0)
    assert reached[:8].any()
    assert not reached[8:].any()


@pytest.mark.parametrize("name", SMALL)
def test_an_ensemble_is_the_average_of_its_members(name: str) -> None:
    torch.manual_seed(0)
    model = SMALL[name](members=3)
    model.train()
    model(torch.rand(32, 1, 8, 8))  # running statistics of its own for each member
    model.eval()
    images = torch.rand(5, 1, 8, 8)
    logits = [member(images) for member in split_members(model)]
    torch.testing.assert_close(model(images), torch.stack(logits).mean(dim=0))
    assert not torch.allclose(logits[0], logits[1], atol=1e-2)


@pytest.mark.parametrize("name", SMALL)
def test_members_train_as_separate_networks_on_the_averaged_logits(name: str) -> None:
    torch.manual_seed(0)
    model = SMALL[name](members=2)
    model(torch.rand(32, 1, 8, 8))
    model.eval()
    members = split_members(model)
    images, labels = torch.rand(8, 1, 8, 8), torch.randint(10, (8,))
    F.cross_entropy(model(images), labels).backward()
    F.cross_entropy(torch.stack([m(images) for m in members]).mean(0), labels).backward()
    for key, parameter in model.named_parameters():
        for own, member in zip(parameter.grad.chunk(2), members, strict=True):
            expected = member.get_parameter(key).grad
            assert expected.any(), key
            torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-5)


def test_splitting_changes_neither_the_ensemble_nor_the_random_state() -> None:
    model = PreActResNet(20, width=2, members=2, gamma=0.1)
    model.blocks[4].noise.gamma = 0.3
    torch.manual_seed(0)
    members = split_members(model)
    assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(0))
    assert model.training
    for member in members:
        assert [b.noise.gamma for b in member.blocks] == [b.noise.gamma for b in model.blocks]
        for parameter in member.parameters():
            parameter.data.zero_()
    assert all(block.conv1.weight.any() for block in model.blocks)


@pytest.mark.parametrize("members", [1, 2])
def test_noise_has_the_spread_of_the_paper(members: int) -> None:
    torch.manual_seed(0)
    x = torch.cat([torch.randn(64, 8, 16, 16) * (m + 1) for m in range(members)], dim=1)
    noise = (add_noise(x, 0.1, members) - x).chunk(members, dim=1)
    for m in range(members):
        assert noise[m].std().item() == pytest.approx(0.1 * (m + 1), rel=0.02)
        assert abs(noise[m].mean().item()) < 0.002


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("members", [1, 2])
def test_noise_scaled_by_image_has_the_spread_of_each_image(
    members: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    strength = torch.arange(1.0, 1 + 5 * members).view(5, members)
    x = torch.randn(5, members, 8, 32, 32) * strength[:, :, None, None, None] + 7
    x = x.flatten(1, 2).contiguous(memory_format=layout)
    noise = (add_noise(x, 0.1, members, "image") - x).unflatten(1, (members, 8))
    torch.testing.assert_close(noise.std(dim=(2, 3, 4)), 0.1 * strength, rtol=0.05, atol=0)
    flat = torch.ones(3, members * 2, 4, 4, requires_grad=True)  # no spread: no noise, and a finite gradient
    add_noise(flat, 0.1, members, "image").sum().backward()
    assert torch.equal(flat.grad, torch.ones_like(flat))


@pytest.mark.parametrize("members", [1, 2])
def test_for_one_image_both_scales_are_the_same(members: int) -> None:
    x = torch.rand(1, members * 3, 5, 5)
    made = []
    for scale in ("batch", "image"):
        torch.manual_seed(0)
        made.append(add_noise(x, 0.3, members, scale))
    torch.testing.assert_close(*made)


def logits_beside(model: nn.Module, images: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Logits of the images in this order, each with the noise that it has in the order of `images`."""
    drawn = torch.Generator()

    def normal(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=drawn)[order]

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(parts, "_normal_like", normal)
        drawn.manual_seed(0)
        return model(images[order])


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("name", SMALL)
def test_other_images_change_an_answer_only_if_the_noise_is_scaled_over_the_batch(
    name: str, members: int
) -> None:
    torch.manual_seed(0)
    images = torch.rand(6, 1, 8, 8)
    others = torch.cat([images[:2], torch.ones(4, 1, 8, 8)])
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    same = torch.arange(6)
    for scale, independent in (("image", True), ("batch", False)):
        torch.manual_seed(1)
        model = SMALL[name](members=members, gamma=0.5, noise_scale=scale)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        model(torch.rand(64, 1, 8, 8))
        # An ensemble that was cut up and exported answers like the whole.
        for network in (model.eval(), *split_members(model), *(compact(model).members)):
            assert depends_on_batch(network) is not independent
            assert not depends_on_batch(quiet(network))
            alone = logits_beside(network, images, same)
            permuted = logits_beside(network, images, order)
            torch.testing.assert_close(permuted, alone[order], rtol=1e-4, atol=1e-5)
            replaced = logits_beside(network, others, same)
            assert torch.allclose(replaced[:2], alone[:2], rtol=1e-4, atol=1e-5) is independent


def test_an_unknown_scale_of_the_noise_is_named() -> None:
    with pytest.raises(ValueError, match="noise_scale is 'pixel'; it must be one of batch, image"):
        PreActResNet(20, width=2, gamma=0.1, noise_scale="pixel")


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("name", SMALL)
def test_noise_is_added_in_training_and_in_evaluation(name: str, mode: bool) -> None:
    images = torch.rand(4, 1, 16, 16)
    noisy = SMALL[name](gamma=0.1).train(mode)
    assert not torch.equal(noisy(images), noisy(images))
    still = SMALL[name]().train(mode)
    assert torch.equal(still(images), still(images))


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("name", SMALL)
def test_noise_follows_every_block(name: str, members: int) -> None:
    model = SMALL[name](members=members, gamma=0.1).eval()
    assert model.gamma == 0.1
    for block in model.blocks:
        x = torch.rand(4, block.norm1.num_features, 8, 8)
        assert not torch.equal(block(x), block(x))


@pytest.mark.parametrize("name", SMALL)
def test_quiet_copy_has_the_same_weights_and_no_noise(name: str) -> None:
    model = SMALL[name](members=2, gamma=0.1)
    twin = quiet(model)
    assert (is_noisy(model), is_noisy(twin), twin.training) == (True, False, True)
    without = SMALL[name](members=2)
    without.load_state_dict(model.state_dict())
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(twin.eval()(images), without.eval()(images))
    assert not any(is_noisy(member) for member in split_members(twin))
    twin.head.weight.data.zero_()
    assert model.head.weight.all()


@pytest.mark.parametrize("name", SMALL)
def test_compacted_network_has_a_quiet_copy(name: str) -> None:
    model = SMALL[name](members=2, gamma=0.1).eval()
    small = compact(model)
    assert is_noisy(small)
    assert not is_noisy(quiet(small))
    assert is_noisy(small)
    images = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(quiet(small)(images), quiet(model)(images))


def test_network_with_one_noisy_block_is_noisy() -> None:
    model = PreActResNet(20, width=2)
    assert not is_noisy(model)
    model.blocks[5].noise.gamma = 0.01
    assert is_noisy(model)
    assert not is_noisy(quiet(model))


def test_bad_sizes_are_named_in_the_error() -> None:
    for network in (PreActResNet, PlainNet):
        with pytest.raises(ValueError, match="depth is 21"):
            network(21)
    for depth in (4, 20, 35):
        with pytest.raises(ValueError, match=f"depth is {depth}; it must be 6 m \\+ 4"):
            WideResNet(depth)
    with pytest.raises(ValueError, match="widen is 0; it must be at least 1"):
        WideResNet(10, widen=0)
    for make in SMALL.values():
        with pytest.raises(ValueError, match="members is 0; it must be at least 1"):
            make(members=0)
        for gamma in (-0.1, math.nan):
            with pytest.raises(ValueError, match=f"gamma is {gamma}; it must be at least 0"):
                make(gamma=gamma)
