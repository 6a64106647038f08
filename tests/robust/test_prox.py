"""Every prox against answers worked by hand, and against a search over a grid."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rtune.robust.pruning import prox


def test_hard_threshold_by_hand() -> None:
    # t = 0.5: keep where |w| > sqrt(2 * 0.5) = 1; a tie goes to zero.
    w = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.99, 1.0, 1.01])
    assert prox.prox_l0(w, 0.5).tolist() == pytest.approx([-2.0, 0, 0, 0, 0, 0, 1.01])


def test_soft_threshold_by_hand() -> None:
    w = torch.tensor([-2.0, -0.5, 0.0, 0.3, 1.25])
    assert prox.prox_l1(w, 0.5).tolist() == pytest.approx([-1.5, 0, 0, 0, 0.75])


def test_transformed_l1_threshold_by_hand() -> None:
    # a = 1: threshold t (a + 1) / a = 2t while t <= a^2 / (2 (a + 1)) = 1/4, then sqrt(4t) - 1/2.
    w = torch.tensor([0.39, 0.41])
    assert (prox.prox_transformed_l1(w, 0.2) != 0).tolist() == [False, True]
    w = torch.tensor([1.49, 1.51])
    assert (prox.prox_transformed_l1(w, 1.0) != 0).tolist() == [False, True]


def rho(u: np.ndarray, a: float) -> np.ndarray:
    return (a + 1) * np.abs(u) / (a + np.abs(u))


PENALTIES = {
    "l0": (prox.prox_l0, lambda u: (u != 0).astype(float)),
    "l1": (prox.prox_l1, np.abs),
    "transformed_l1": (prox.prox_transformed_l1, lambda u: rho(u, 1.0)),
}
GRID = np.unique(np.concatenate([np.linspace(-4, 4, 16001), [0.0]]))


@pytest.mark.parametrize("name", PENALTIES)
@given(w=st.floats(-3, 3), t=st.floats(0.001, 2))
def test_elementwise_prox_is_the_argmin(name: str, w: float, t: float) -> None:
    apply, penalty = PENALTIES[name]

    def objective(u: np.ndarray) -> np.ndarray:
        return t * penalty(u) + 0.5 * (w - u) ** 2

    answer = apply(torch.tensor([w], dtype=torch.float64), t).numpy()
    assert objective(answer)[0] <= objective(GRID).min() + 1e-6


@given(w=st.lists(st.floats(-2, 2), min_size=4, max_size=4), t=st.floats(0.001, 2))
def test_group_prox_is_the_argmin_along_the_group(w: list[float], t: float) -> None:
    """By symmetry the minimiser is a multiple of w, so a grid over the multiple is enough."""
    weight = torch.tensor(w, dtype=torch.float64).view(2, 1, 1, 2)
    length = float(weight.norm())
    scales = np.linspace(0, 1, 2001)
    for apply, penalty in (
        (prox.prox_group_l0, lambda s: float(s * length > 0)),
        (prox.prox_group_lasso, lambda s: s * length),
    ):
        best = min(t * penalty(s) + 0.5 * (length * (1 - s)) ** 2 for s in scales)
        u = apply(weight, t)
        value = t * penalty(float(u.norm()) / length if length else 0.0)
        assert value + 0.5 * float((weight - u).square().sum()) <= best + 1e-6


def test_group_proxes_by_hand() -> None:
    # Two input channels of a 2x2 -> norms 5 and 0.5 over (out, kernel); the third is all zero.
    w = torch.zeros(2, 3, 1, 1)
    w[:, 0, 0, 0] = torch.tensor([3.0, 4.0])
    w[:, 1, 0, 0] = torch.tensor([0.3, 0.4])
    assert prox.channel_norms(w).tolist() == [pytest.approx([5.0, 0.5, 0.0])]
    hard = prox.prox_group_l0(w, 0.5)  # threshold 1
    assert hard[:, 0, 0, 0].tolist() == pytest.approx([3.0, 4.0])
    assert hard[:, 1:].count_nonzero() == 0
    lasso = prox.prox_group_lasso(w, 0.25)
    assert lasso[:, 0, 0, 0].tolist() == pytest.approx([3 * 0.95, 4 * 0.95])
    assert lasso[:, 1, 0, 0].tolist() == pytest.approx([0.15, 0.2])
    assert torch.isfinite(lasso).all()
    assert lasso[:, 2].count_nonzero() == 0


def test_a_norm_at_the_threshold_goes_to_zero() -> None:
    w = torch.tensor([3.0, 4.0]).view(2, 1, 1, 1)
    assert prox.prox_group_l0(w, 12.5).count_nonzero() == 0  # sqrt(2 * 12.5) = 5


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_grouped_channels_are_each_members_own(groups: int) -> None:
    w = torch.randn(6 * groups, 4, 3, 3)
    norms = prox.channel_norms(w, groups)
    for member, part in enumerate(w.chunk(groups)):
        expected = [math.sqrt(float(part[:, i].square().sum())) for i in range(4)]
        assert norms[member].tolist() == pytest.approx(expected, rel=1e-5)
        t = float(norms.median()) ** 2 / 2
        assert torch.equal(
            prox.prox_group_l0(w, t, groups).chunk(groups)[member], prox.prox_group_l0(part, t)
        )
