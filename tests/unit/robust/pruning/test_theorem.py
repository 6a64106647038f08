"""Theorem 1: plain gradient steps of length below 2 / (beta + L) make the Lagrangian fall.

The proof uses of the penalty only that u is the argmin, so it holds for every prox, not for l0 alone
(docs/method.md); each is tried here, in float64, on losses whose L is known.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rtune.robust import RGSM, RVSM, Pruner
from rtune.robust.pruning import prox


def channel_norms(u: Tensor) -> Tensor:
    return u.square().sum(dim=(0, 2, 3)).sqrt()


# Penalty on u, and the pruner that splits it off.
METHODS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[nn.Module, float, float], Pruner]]] = {
    "l0": (lambda u: (u != 0).sum(), lambda m, b, p: RVSM(m, b, p)),
    "l1": (lambda u: u.abs().sum(), lambda m, b, p: RVSM(m, b, p, "l1")),
    "transformed_l1": (
        lambda u: (2 * u.abs() / (1 + u.abs())).sum(),
        lambda m, b, p: RVSM(m, b, p, "transformed_l1"),
    ),
    "group_l0": (lambda u: (channel_norms(u) > 0).sum(), lambda m, b, p: RGSM(m, b, p, lambda_2=0)),
    "group_lasso": (
        lambda u: channel_norms(u).sum(),
        lambda m, b, p: RGSM(m, b, p, lambda_2=0, penalty="group_lasso"),
    ),
}


@dataclass(frozen=True)
class Toy:
    """f(w) = 1/2 (w - target)' H (w - target) + ripple * sum cos(w): smooth, not convex in general.

    Its gradient is Lipschitz with L = max |eigenvalue of H| + ripple.
    """

    hessian: Tensor
    target: Tensor
    ripple: float

    @classmethod
    def random(cls, seed: int, size: int, diagonal: bool) -> "Toy":
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        if diagonal:
            hessian = torch.diag(normal(size).abs())
        else:
            root = normal(size, size)
            hessian = root @ root.T - 0.5 * torch.eye(size, dtype=torch.float64)
        return cls(hessian, 2 * normal(size), float(normal(1).abs()))

    @property
    def smoothness(self) -> float:
        return float(torch.linalg.eigvalsh(self.hessian).abs().max()) + self.ripple

    def loss(self, w: Tensor) -> Tensor:
        away = w.flatten() - self.target
        return away @ self.hessian @ away / 2 + self.ripple * w.cos().sum()


def conv_of(start: Tensor) -> nn.Conv2d:
    """Two input channels of as many weights each."""
    conv = nn.Conv2d(2, len(start) // 2, 1, bias=False, dtype=torch.float64)
    conv.weight.data = start.clone().view_as(conv.weight)
    return conv


Lagrangian = Callable[[Tensor, Tensor], float]


def lagrangian_of(toy: Toy, method: str, beta: float, lambda_1: float) -> Lagrangian:
    penalty, _ = METHODS[method]

    def lagrangian(w: Tensor, u: Tensor) -> float:
        return float(toy.loss(w) + lambda_1 * penalty(u) + beta / 2 * (w - u).square().sum())

    return lagrangian


def train(toy: Toy, conv: nn.Conv2d, pruner: Pruner, lr: float) -> list[tuple[Tensor, Tensor]]:
    """(w, u) before and after each of 20 batches."""

    def now() -> tuple[Tensor, Tensor]:
        return conv.weight.detach().clone(), pruner.state()["u"][0].clone()

    optimizer = torch.optim.SGD(conv.parameters(), lr=lr)
    path = [now()]
    for _ in range(20):
        optimizer.zero_grad()
        toy.loss(conv.weight).backward()
        pruner.pull(lr)
        optimizer.step()
        pruner.update()
        path.append(now())
    return path


def holds(
    toy: Toy,
    start: Tensor,
    method: str,
    beta: float,
    lambda_1: float,
    fraction: float,
    fault: dict[str, object],
) -> bool:
    """Whether both halves of each batch do what the proof says, at lr = fraction * 2 / (beta + L).

    The step of w makes the Lagrangian fall by (1 / lr - (beta + L) / 2) * |step|^2 at least; the new u
    is no worse than the old one, nor than 0 or w.
    """
    conv = conv_of(start)
    pruner = METHODS[method][1](conv, beta, lambda_1)
    for name, value in fault.items():
        setattr(pruner, name, value)
    lr = fraction * 2 / (beta + toy.smoothness)
    least = 1 / lr - (beta + toy.smoothness) / 2
    lagrangian = lagrangian_of(toy, method, beta, lambda_1)
    for (w, u), (stepped, best) in itertools.pairwise(train(toy, conv, pruner, lr)):
        before, between, after = lagrangian(w, u), lagrangian(stepped, u), lagrangian(stepped, best)
        slack = 1e-12 * (1 + abs(before))
        if between > before - least * float((stepped - w).square().sum()) + slack:
            return False
        others = (between, lagrangian(stepped, torch.zeros_like(u)), lagrangian(stepped, stepped))
        if after > min(others) + slack:
            return False
        assert after <= before + 2 * slack  # the theorem, which follows
    return True


positive = st.floats(-3, 1).map(lambda e: 10**e)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    diagonal=st.booleans(),
    beta=positive,
    lambda_1=positive,
    fraction=st.floats(0.01, 0.999),
    start=st.lists(st.floats(-4, 4), min_size=6, max_size=6),
)
def test_lagrangian_falls_by_at_least_the_proven_amount(
    method: str,
    seed: int,
    diagonal: bool,
    beta: float,
    lambda_1: float,
    fraction: float,
    start: list[float],
) -> None:
    toy = Toy.random(seed, 6, diagonal)
    assert holds(toy, torch.tensor(start, dtype=torch.float64), method, beta, lambda_1, fraction, {})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("fraction", "rises"), [(0.98, False), (1.02, True)])
def test_step_size_bound_is_sharp(method: str, fraction: float, rises: bool) -> None:
    """f = L/2 |w|^2 under a penalty so strong that u stays 0: w turns its sign and grows past the bound."""
    beta, lambda_1, smoothness = 0.5, 1e6, 3.0
    toy = Toy(smoothness * torch.eye(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64), 0)
    conv = conv_of(torch.tensor([1.0, -2, 0.5, 3, -1, 2], dtype=torch.float64))
    pruner = METHODS[method][1](conv, beta, lambda_1)
    lagrangian = lagrangian_of(toy, method, beta, lambda_1)
    values = [lagrangian(w, u) for w, u in train(toy, conv, pruner, fraction * 2 / (beta + smoothness))]
    assert all((after > before) == rises for before, after in itertools.pairwise(values))


@pytest.mark.parametrize(
    "fault",
    [
        {"_prox": lambda w, _: prox.prox_l0(w, 0.04 / 2)},
        {"_prox": lambda w, _: prox.prox_l0(w, 0.04 * 2)},
        {"beta": 2 * 10.0},  # the pull made twice
    ],
)
def test_lagrangian_property_fails_for_wrong_updates(fault: dict[str, object]) -> None:
    starts = torch.randn(40, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    toys = [(Toy.random(i, 6, False), start) for i, start in enumerate(starts)]
    assert all(holds(toy, start, "l0", 10.0, 0.4, 0.9, {}) for toy, start in toys)
    assert not all(holds(toy, start, "l0", 10.0, 0.4, 0.9, fault) for toy, start in toys)
