"""The pruning methods: one batch by hand, then what they promise over a training."""

import itertools

import pytest
import torch
from torch import nn

from rtune.robust import ADMM, RGSM, RVSM, PreActResNet, Pruner, channel_sparsity, weight_sparsity
from rtune.robust.pruning import prox

METHODS = {
    "rvsm": lambda m: RVSM(m, beta=0.5, lambda_1=0.02),
    "rvsm-l1": lambda m: RVSM(m, beta=0.5, lambda_1=0.02, penalty="l1"),
    "rvsm-transformed-l1": lambda m: RVSM(m, beta=0.5, lambda_1=0.02, penalty="transformed_l1"),
    "rgsm": lambda m: RGSM(m, beta=1.0, lambda_1=0.9, lambda_2=1e-3),
    "rgsm-lasso": lambda m: RGSM(m, beta=1.0, lambda_1=1.45, lambda_2=1e-3, penalty="group_lasso"),
    "admm": lambda m: ADMM(m, rho=0.1, sparsity=0.7),
    "admm-channels": lambda m: ADMM(m, rho=0.1, sparsity=0.4, granularity="channels"),
}


def one_conv(values: list[float]) -> nn.Conv2d:
    conv = nn.Conv2d(1, len(values), 1, bias=False)
    conv.weight.data = torch.tensor(values).view(-1, 1, 1, 1)
    return conv


def batch(model: nn.Module, pruner: Pruner, gradient: list[float], lr: float) -> None:
    """w <- w - lr * gradient between the pruner's two moves, as a training loop does."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    model.weight.grad = torch.tensor(gradient).view_as(model.weight)
    pruner.pull(lr)
    optimizer.step()
    pruner.update()


def test_rvsm_batch_by_hand() -> None:
    # beta 0.5, lambda 0.25: threshold 1. w = (2, 0.8), u = (2, 0).
    # pull: w - 0.1 * 0.5 * (w - u) = (2, 0.76); gradient (1, -1): (1.9, 0.86); u = (1.9, 0).
    conv = one_conv([2.0, 0.8])
    pruner = RVSM(conv, beta=0.5, lambda_1=0.25)
    batch(conv, pruner, [1.0, -1.0], lr=0.1)
    assert conv.weight.flatten().tolist() == pytest.approx([1.9, 0.86])
    assert pruner.u[0].flatten().tolist() == pytest.approx([1.9, 0.0])
    pruner.replace()
    assert conv.weight.flatten().tolist() == pytest.approx([1.9, 0.0])
    assert weight_sparsity(conv) == 0.5


def test_rgsm_batch_by_hand() -> None:
    # One channel (3, 4) of norm 5; lambda_2 = 0.5 adds 0.5 * (0.6, 0.8) to the gradient.
    # threshold sqrt(2 * 8 / 1) = 4 < 5: u = w, no pull. w = (3, 4) - 0.1 * (0.3, 0.4) = (2.97, 3.96).
    conv = one_conv([3.0, 4.0])
    pruner = RGSM(conv, beta=1.0, lambda_1=8.0, lambda_2=0.5)
    batch(conv, pruner, [0.0, 0.0], lr=0.1)
    assert conv.weight.flatten().tolist() == pytest.approx([2.97, 3.96])
    assert pruner.u[0].flatten().tolist() == pytest.approx([2.97, 3.96])


def test_rgsm_gradient_agrees_with_the_group_lasso() -> None:
    torch.manual_seed(0)
    model = PreActResNet(20, width=2, in_channels=1, members=2)
    with torch.no_grad():
        model.blocks[0].conv1.weight[:, 0] = 0  # a zero channel has the zero subgradient
    pruner = RGSM(model, beta=1.0, lambda_1=0.0, lambda_2=0.3)
    value = sum(
        prox.channel_norms(w, g)[prox.channel_norms(w, g) > 0].sum()
        for w, g in zip(pruner.weights, pruner.groups, strict=True)
    )
    expected = torch.autograd.grad(0.3 * value, pruner.weights)
    for w in pruner.weights:
        w.grad = torch.zeros_like(w)
    pruner.pull(lr=0.0)
    for w, gradient in zip(pruner.weights, expected, strict=True):
        torch.testing.assert_close(w.grad, gradient)


def test_admm_batch_by_hand() -> None:
    # sparsity 0.5 of two weights: u keeps the larger. w = (1, 3), u = (0, 3), z = 0, rho 0.5, lr 0.1:
    # w = w - 0.05 * (w - u) = (0.95, 3); w + z = (0.95, 3): u = (0, 3), z = (0.95, 0).
    conv = one_conv([1.0, 3.0])
    pruner = ADMM(conv, rho=0.5, sparsity=0.5)
    batch(conv, pruner, [0.0, 0.0], lr=0.1)
    assert conv.weight.flatten().tolist() == pytest.approx([0.95, 3.0])
    assert pruner.z[0].flatten().tolist() == pytest.approx([0.95, 0.0])
    # Next: w - 0.05 * (w - u + z) = 0.95 - 0.05 * (0.95 - 0 + 0.95) = 0.855; z grows to 1.805.
    batch(conv, pruner, [0.0, 0.0], lr=0.1)
    assert conv.weight.flatten().tolist() == pytest.approx([0.855, 3.0])
    assert pruner.z[0].flatten().tolist() == pytest.approx([1.805, 0.0])


@pytest.mark.parametrize("granularity", ["weights", "channels"])
@pytest.mark.parametrize("sparsity", [0.0, 0.31, 0.8])
def test_admm_gives_the_requested_sparsity(granularity: str, sparsity: float) -> None:
    model = PreActResNet(20, width=4, members=2, gamma=0.1)
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d):
            conv.weight.data.fill_(0.5)  # nothing but ties
    pruner = ADMM(model, rho=0.01, sparsity=sparsity, granularity=granularity)
    pruner.replace()
    measure = weight_sparsity if granularity == "weights" else channel_sparsity
    counted = sum(
        w.numel() if granularity == "weights" else prox.channel_norms(w, g).numel()
        for w, g in zip(pruner.weights, pruner.groups, strict=True)
    )
    assert measure(model) == pytest.approx(round(sparsity * counted) / counted)
    pruner.resume()
    assert weight_sparsity(model) == 0


@pytest.mark.parametrize("name", METHODS)
def test_the_network_is_sparse_after_replace(name: str) -> None:
    torch.manual_seed(1)
    model = PreActResNet(20, width=4, in_channels=1)
    pruner = METHODS[name](model)
    pruner.replace()
    assert weight_sparsity(model) > 0.05
    for w, u in zip(pruner.weights, pruner.state()["u"], strict=True):
        assert torch.equal(w, u)


@pytest.mark.parametrize("name", METHODS)
def test_state_restores_a_pruner_completely(name: str) -> None:
    """A pruner restored on another network moves as the first one does."""
    torch.manual_seed(2)
    model = PreActResNet(20, width=2, in_channels=1)
    pruner = METHODS[name](model)
    gradients = [[torch.randn_like(w) for w in pruner.weights] for _ in range(4)]

    def run(model: nn.Module, pruner: Pruner, steps: list[list[torch.Tensor]]) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        pruner.resume()
        for step in steps:
            for w, g in zip(pruner.weights, step, strict=True):
                w.grad = g.clone()
            pruner.pull(0.1)
            optimizer.step()
            pruner.update()
        pruner.replace()

    run(model, pruner, gradients[:2])
    twin = PreActResNet(20, width=2, in_channels=1)
    twin.load_state_dict(model.state_dict())
    other = METHODS[name](twin)
    other.load_state_dict({k: v.clone() for k, v in pruner.state_dict().items()})
    run(model, pruner, gradients[2:])
    run(twin, other, gradients[2:])
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_rvsm_lagrangian_falls() -> None:
    """Theorem 1 on a quadratic f with L = 3: for lr < 2 / (beta + L) the Lagrangian never rises."""
    torch.manual_seed(3)
    conv = one_conv([1.5, -0.4, 0.05, 2.0])
    target, curvature = torch.tensor([1.0, 0.3, -0.1, 0.2]), torch.tensor([3.0, 1.0, 0.5, 2.0])
    beta, lambda_1 = 0.5, 0.02
    pruner = RVSM(conv, beta, lambda_1)

    def lagrangian() -> float:
        w, u = conv.weight.detach().flatten(), pruner.u[0].flatten()
        loss = 0.5 * (curvature * (w - target) ** 2).sum()
        return float(loss + lambda_1 * u.count_nonzero() + beta / 2 * ((w - u) ** 2).sum())

    values = [lagrangian()]
    for _ in range(200):
        gradient = curvature * (conv.weight.detach().flatten() - target)
        batch(conv, pruner, gradient.tolist(), lr=0.5)
        values.append(lagrangian())
    assert all(after <= before + 1e-6 for before, after in itertools.pairwise(values))


def test_unknown_penalty_is_named_in_the_error() -> None:
    with pytest.raises(ValueError, match="penalty is 'l2'; it must be one of l0, l1, transformed_l1"):
        RVSM(one_conv([1.0]), 1.0, 1.0, penalty="l2")


def test_channel_sparsity_counts_norms_below_the_papers_limit() -> None:
    conv = nn.Conv2d(3, 2, 1, bias=False)
    conv.weight.data.zero_()
    conv.weight.data[:, 0] = 1e-16
    conv.weight.data[:, 1] = 1e-14
    assert channel_sparsity(conv) == pytest.approx(2 / 3)
    assert weight_sparsity(conv) == pytest.approx(1 / 3)
