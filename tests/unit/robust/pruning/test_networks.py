"""Pruning while training on every network: grouped and depthwise convolutions, skips or none."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from rtune.robust import (
    ADMM,
    PGD,
    RGSM,
    RVSM,
    Network,
    Pruner,
    Recipe,
    Split,
    Trainer,
    channel_sparsity,
    compact,
    weight_sparsity,
)
from rtune.robust.fast import engine_for
from tests.support.networks import SMALL

METHODS: dict[str, Callable[[nn.Module], Pruner]] = {
    "rvsm": lambda m: RVSM(m, beta=0.5, lambda_1=2e-3),
    "rvsm-l1": lambda m: RVSM(m, beta=0.5, lambda_1=0.02, penalty="l1"),
    "rvsm-transformed-l1": lambda m: RVSM(m, beta=0.5, lambda_1=0.02, penalty="transformed_l1"),
    "rgsm": lambda m: RGSM(m, beta=1.0, lambda_1=0.9, lambda_2=1e-3),
    "rgsm-lasso": lambda m: RGSM(m, beta=1.0, lambda_1=1.4, lambda_2=1e-3, penalty="group_lasso"),
    "admm": lambda m: ADMM(m, rho=0.1, sparsity=0.7),
    "admm-channels": lambda m: ADMM(m, rho=0.1, sparsity=0.4, granularity="channels"),
}


def channels(model: nn.Module) -> list[torch.Tensor]:
    """Weights that each input channel of each group feeds; written out, as a check on `prox`."""
    found = []
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d):
            for weight in conv.weight.detach().chunk(conv.groups):
                found += [weight[:, i] for i in range(weight.shape[1])]
    return found


def trainer(model: Network, pruner: Pruner) -> Trainer:
    """48 images in three batches."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (48, 1, 8, 8), generator=generator).to(torch.uint8)
    split = Split(images, torch.arange(48) % 10)
    recipe = Recipe(max_epochs=2, batch_size=16, crop_padding=0, flip=False, lr=0.02)
    return Trainer(model, pruner, PGD(0.03, 0.02, steps=1), split, recipe, seed=0, engine=engine_for("cpu"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SMALL)
def test_every_method_prunes_every_network_in_training(name: str, method: str) -> None:
    torch.manual_seed(0)
    model = SMALL[name](members=2, gamma=0.1)
    pruner = METHODS[method](model)
    start = [p.detach().clone() for p in model.parameters()]
    training = trainer(model, pruner)
    training.train_epoch()  # raises Diverged if the loss or a weight is not finite
    zero = [not channel.any() for channel in channels(model)]
    if "channels" in method or "rgsm" in method:
        assert 0.1 < sum(zero) / len(zero) < 0.9
        assert channel_sparsity(model) == pytest.approx(sum(zero) / len(zero))
    else:
        assert 0.1 < weight_sparsity(model) < 0.9
    assert not any(torch.equal(p, s) for p, s in zip(model.parameters(), start, strict=True))
    assert compact(model)(torch.rand(4, 1, 8, 8)).isfinite().all()
    training.train_epoch()  # and it goes on from there


@pytest.mark.parametrize("sparsity", [0.31, 0.8])
@pytest.mark.parametrize("granularity", ["weights", "channels"])
@pytest.mark.parametrize("name", SMALL)
def test_admm_reaches_its_sparsity_exactly(name: str, granularity: str, sparsity: float) -> None:
    torch.manual_seed(0)
    model = SMALL[name](members=2, gamma=0.1)
    trainer(model, ADMM(model, rho=0.1, sparsity=sparsity, granularity=granularity)).train_epoch()
    units = channels(model)
    if granularity == "weights":
        units = list(torch.cat([unit.flatten() for unit in units]))
    assert sum(not unit.any() for unit in units) == round(sparsity * len(units))


def test_each_depthwise_filter_is_a_separate_channel() -> None:
    # Filters of norm 0.5, 2 and 0.9; RGSM's threshold is sqrt(2 * 0.5 / 1) = 1.
    conv = nn.Conv2d(3, 3, 3, groups=3, bias=False)
    norms = torch.tensor([0.5, 2.0, 0.9])
    conv.weight.data = (norms / 3).view(3, 1, 1, 1).expand(3, 1, 3, 3).clone()
    RGSM(conv, beta=1.0, lambda_1=0.5, lambda_2=0.0).replace()
    assert torch.linalg.vector_norm(conv.weight.flatten(1), dim=1).tolist() == pytest.approx([0, 2, 0])
    assert channel_sparsity(conv) == pytest.approx(2 / 3)
    # ADMM keeps round(0.66 * 3) = 2 fewer of them, the largest.
    conv.weight.data = (norms / 3).view(3, 1, 1, 1).expand(3, 1, 3, 3).clone()
    ADMM(conv, rho=1.0, sparsity=0.66, granularity="channels").replace()
    assert torch.linalg.vector_norm(conv.weight.flatten(1), dim=1).tolist() == pytest.approx([0, 2, 0])


def test_channel_of_one_member_is_pruned_independently() -> None:
    # Two members of a pointwise convolution, two channels each; norms 2, 0.5 and 0.5, 2.
    conv = nn.Conv2d(4, 4, 1, groups=2, bias=False)
    columns = torch.tensor([[2.0, 0.5], [2.0, 0.5], [0.5, 2.0], [0.5, 2.0]]) / 2**0.5
    conv.weight.data = columns.view(4, 2, 1, 1).clone()
    RGSM(conv, beta=1.0, lambda_1=0.5, lambda_2=0.0).replace()
    assert conv.weight.ne(0).view(4, 2).tolist() == [[True, False]] * 2 + [[False, True]] * 2
    assert channel_sparsity(conv) == 0.5


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("name", SMALL)
def test_network_without_nonzero_weights_has_finite_gradients(name: str, members: int) -> None:
    """A block without skips or a filter then has no spread at all for the noise to follow."""
    model = SMALL[name](members=members, gamma=0.1)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.zero_()
    model(torch.rand(4, 1, 8, 8)).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert channel_sparsity(model) == weight_sparsity(model) == 1
