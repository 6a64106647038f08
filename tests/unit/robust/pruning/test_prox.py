"""Every prox against answers worked by hand, and against a search over a grid."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from rtune.robust.pruning import prox

Penalty = Callable[[np.ndarray], np.ndarray]


def rho(a: float) -> Penalty:
    return lambda u: (a + 1) * np.abs(u) / (a + np.abs(u))


def critical(a: float) -> float:
    """The t at which the transformed-l1 threshold changes its form."""
    return a * a / (2 * (a + 1))


def channels(*columns: list[float], kernel: int = 1) -> Tensor:
    """Weights (out, in, kernel, 1) whose input channels hold these numbers."""
    return torch.tensor(columns).T.reshape(-1, kernel, len(columns), 1).transpose(1, 2).contiguous()


# --- by hand ------------------------------------------------------------------------------------


def test_hard_threshold_by_hand() -> None:
    # t = 0.5: keep where |w| > sqrt(2 * 0.5) = 1; a tie goes to zero.
    w = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.99, 1.0, 1.01])
    assert torch.equal(prox.prox_l0(w, 0.5), torch.tensor([-2.0, 0, 0, 0, 0, 0, 1.01]))


def test_soft_threshold_by_hand() -> None:
    w = torch.tensor([-2.0, -0.5, 0.0, 0.3, 0.5, 1.25])
    assert torch.equal(prox.prox_l1(w, 0.5), torch.tensor([-1.5, 0, 0, 0, 0, 0.75]))


@pytest.mark.parametrize(
    ("a", "t", "w", "expected"),
    # u solves u - w + t a (a + 1) / (a + u)^2 = 0; each line starts from a u that makes it easy.
    [
        (1, 0.2, 0.506, 0.25),  # t below 1/4; 0.4 / 1.25^2 = 0.256; threshold 2t = 0.4
        (1, 0.2, -0.506, -0.25),
        (1, 0.2, 1.1, 1.0),  # 0.4 / 2^2 = 0.1
        (1, 0.2, 0.4, 0.0),
        (1, 0.2, 0.39, 0.0),
        (1, 0.5, 1.25, 1.0),  # t above 1/4; 1 / 2^2 = 0.25; threshold sqrt(2) - 1/2 = 0.914
        (1, 0.5, -1.25, -1.0),
        (1, 0.5, 0.91, 0.0),
        (1, 1.0, 1.5, 0.0),  # a tie: sqrt(4) - 1/2 = 1.5
        (1, 1.0, -1.5, 0.0),
        (2, 0.5, 4 / 3, 1.0),  # t below 2/3; 3 / 3^2; threshold 3t/2 = 0.75
        (2, 1.0, 5 / 3, 1.0),  # t above 2/3; 6 / 3^2; threshold sqrt(6) - 1 = 1.449
        (2, 1.0, 1.44, 0.0),
        (0.5, 2.0, 2.24, 2.0),  # t above 1/12; 1.5 / 2.5^2 = 0.24; threshold sqrt(6) - 1/4 = 2.199
    ],
)
def test_transformed_l1_by_hand(a: float, t: float, w: float, expected: float) -> None:
    found = prox.prox_transformed_l1(torch.tensor([w], dtype=torch.float64), t, a)
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_transformed_l1_jumps_where_the_penalty_is_strong_and_only_there() -> None:
    # a = t = 1: at the threshold 3/2 both 0 and sqrt(2 t (a + 1)) - a = 1 are best.
    assert prox.prox_transformed_l1(torch.tensor([1.50001]), 1.0).item() == pytest.approx(1, abs=1e-4)
    # t = 0.2 below 1/4: continuous at the threshold 0.4.
    assert 0 < prox.prox_transformed_l1(torch.tensor([0.40001]), 0.2).item() < 1e-4


def test_group_proxes_by_hand() -> None:
    # Input channels (3, -4), (0.3, 0.4) and a zero one, each over two output channels: norms 5, 0.5, 0.
    w = channels([3.0, -4.0], [0.3, 0.4], [0.0, 0.0])
    assert w.shape == (2, 3, 1, 1)
    torch.testing.assert_close(prox.channel_norms(w), torch.tensor([[5.0, 0.5, 0.0]]))
    # t = 0.5: threshold 1.
    assert torch.equal(prox.prox_group_l0(w, 0.5), channels([3.0, -4.0], [0.0, 0.0], [0.0, 0.0]))
    # t = 0.25: the norms 5 and 0.5 lose a quarter each: times 0.95 and 0.5; zero stays, without 0/0.
    torch.testing.assert_close(
        prox.prox_group_lasso(w, 0.25), channels([2.85, -3.8], [0.15, 0.2], [0.0, 0.0])
    )


def test_norm_equal_to_the_threshold_becomes_zero() -> None:
    w = channels([-3.0, 4.0])
    assert prox.prox_group_l0(w, 12.5).count_nonzero() == 0  # sqrt(2 * 12.5) = 5
    assert torch.equal(prox.prox_group_l0(w, 12.499), w)
    assert prox.prox_group_lasso(w, 5.0).count_nonzero() == 0


def test_group_includes_the_kernel_positions() -> None:
    # Channel (1, -2, 2, 4) is 2 outputs by 2 taps, norm 5; (1, 1, 1, 1) has norm 2. t = 2: 5 -> 3, 2 -> 0.
    w = channels([1.0, -2.0, 2.0, 4.0], [1.0, 1.0, 1.0, 1.0], kernel=2)
    assert w.shape == (2, 2, 2, 1)
    expected = channels([0.6, -1.2, 1.2, 2.4], [0.0] * 4, kernel=2)
    torch.testing.assert_close(prox.prox_group_lasso(w, 2.0), expected)
    assert torch.equal(prox.prox_group_l0(w, 2.0), channels([1.0, -2.0, 2.0, 4.0], [0.0] * 4, kernel=2))


def test_depthwise_and_grouped_channels_by_hand() -> None:
    # Depthwise: three filters of their own, all taps 1, -2 and 0: norms 3, 6, 0 over 3x3.
    w = torch.tensor([1.0, -2.0, 0.0]).view(3, 1, 1, 1).expand(3, 1, 3, 3)
    torch.testing.assert_close(prox.channel_norms(w, 3), torch.tensor([[3.0], [6.0], [0.0]]))
    hard = prox.prox_group_l0(w, 4.5, 3)  # sqrt(9) = 3: a tie
    assert torch.equal(hard[:, 0, 0, 0], torch.tensor([0.0, -2.0, 0.0]))
    lasso = prox.prox_group_lasso(w, 1.5, 3)  # 3 -> 1.5, 6 -> 4.5
    torch.testing.assert_close(lasso[:, 0, 1, 2], torch.tensor([0.5, -1.5, 0.0]))
    # Two groups of two filters on two channels each: rows are (out, in), groups rows 0-1 and 2-3.
    w = torch.tensor([[3.0, 0.0], [4.0, 1.0], [0.6, -8.0], [-0.8, 6.0]]).view(4, 2, 1, 1)
    torch.testing.assert_close(prox.channel_norms(w, 2), torch.tensor([[5.0, 1.0], [1.0, 10.0]]))
    kept = torch.tensor([[3.0, 0.0], [4.0, 0.0], [0.0, -8.0], [0.0, 6.0]]).view(4, 2, 1, 1)
    assert torch.equal(prox.prox_group_l0(w, 2.0, 2), kept)  # threshold 2


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_channels_of_grouped_convolutions_belong_to_one_member(groups: int) -> None:
    w = torch.randn(6 * groups, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    norms = prox.channel_norms(w, groups)
    t = float(norms.median()) ** 2 / 2
    for member, part in enumerate(w.chunk(groups)):
        expected = [math.sqrt(float(part[:, i].square().sum())) for i in range(4)]
        assert norms[member].tolist() == pytest.approx(expected, rel=1e-5)
        for apply in (prox.prox_group_l0, prox.prox_group_lasso):
            assert torch.equal(apply(w, t, groups).chunk(groups)[member], apply(part, t))


# --- against a grid -----------------------------------------------------------------------------

GRID = np.unique(np.concatenate([np.linspace(-3, 3, 6001), [0.0]]))
NEARBY = np.concatenate([sign * np.logspace(-6, -1, 11) for sign in (-1, 1)])


def assert_argmin(w: float, answer: float, t: float, penalty: Penalty) -> None:
    """No point of a wide grid, nor of a fine one around the answer, is better than the answer."""

    def objective(u: np.ndarray) -> np.ndarray:
        return t * penalty(u) + 0.5 * (w - u) ** 2

    scale = max(1.0, abs(w))
    others = np.concatenate([scale * GRID, answer + scale * NEARBY])
    best = objective(others).min()
    assert objective(np.array([answer]))[0] <= best + 1e-13 * (1 + best)


@given(w=st.floats(-3, 3), t=st.floats(0, 2))
def test_hard_and_soft_threshold_are_the_argmin(w: float, t: float) -> None:
    weight = torch.tensor([w], dtype=torch.float64)
    assert_argmin(w, prox.prox_l0(weight, t).item(), t, lambda u: (u != 0).astype(float))
    assert_argmin(w, prox.prox_l1(weight, t).item(), t, np.abs)


@given(
    w=st.floats(-3, 3),
    a=st.sampled_from([0.01, 0.1, 0.5, 1.0, 2.0, 10.0, 1e3]),
    side=st.floats(0, 3),
    near=st.booleans(),
)
@example(w=1.0, a=1.0, side=1.0, near=True)
@example(w=-1.0, a=2.0, side=0.999, near=True)
@example(w=1.0, a=2.0, side=1.001, near=True)
def test_transformed_l1_is_the_argmin(w: float, a: float, side: float, near: bool) -> None:
    """On both sides of the case split (`side` below and above 1), and close to the threshold (`near`)."""
    t = side * critical(a)
    if near:
        convex = side <= 1
        threshold = t * (a + 1) / a if convex else math.sqrt(2 * t * (a + 1)) - a / 2
        w = threshold * (1 + 0.01 * w)
    answer = prox.prox_transformed_l1(torch.tensor([w], dtype=torch.float64), t, a).item()
    assert_argmin(w, answer, t, rho(a))


@given(
    w=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    t=st.floats(0, 2),
    shape=st.sampled_from([(2, 1, 1, 1), (1, 1, 2, 1), (1, 1, 1, 2)]),
)
@example(w=(0.0, 0.0), t=0.5, shape=(2, 1, 1, 1))
@example(w=(0.6, 0.8), t=0.5, shape=(1, 1, 2, 1))
def test_group_proxes_are_the_argmin_in_the_plane(
    w: tuple[float, float], t: float, shape: tuple[int, ...]
) -> None:
    """A channel of two weights against every point of a grid in two dimensions, not only along w."""
    weight = torch.tensor(w, dtype=torch.float64).view(shape)
    for apply, penalty in (
        (prox.prox_group_l0, lambda norm: (norm > 0).astype(float)),
        (prox.prox_group_lasso, lambda norm: norm),
    ):
        answer = apply(weight, t).flatten().numpy()
        axis = np.linspace(-2.5, 2.5, 101)
        plane = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        around = answer + np.stack(np.meshgrid(NEARBY, NEARBY), -1).reshape(-1, 2)
        points = np.concatenate([answer[None], np.zeros((1, 2)), np.array([w]), plane, around])
        norms = np.sqrt((points**2).sum(axis=1))
        values = t * penalty(norms) + 0.5 * ((points - np.array(w)) ** 2).sum(axis=1)
        assert values[0] <= values[1:].min() + 1e-12


# --- numerics -----------------------------------------------------------------------------------

log_uniform = st.floats(-8, 8).map(lambda e: 10**e)


@given(a=log_uniform, t=log_uniform, size=log_uniform, near=st.floats(-0.01, 0.01) | st.none())
@example(a=1.0, t=1e-8, size=1.0, near=1e-3)
@example(a=1e4, t=1e-4, size=1.0, near=None)
def test_float32_finds_a_minimum_as_good_as_float64(
    a: float, t: float, size: float, near: float | None
) -> None:
    """Any scale of a, t and w, and close to the threshold; judged in float64."""
    if near is not None:
        size = t * (a + 1) / a if t <= critical(a) else math.sqrt(2 * t * (a + 1)) - a / 2
        size *= 1 + near
    weight = torch.tensor([size], dtype=torch.float32)
    w = weight.item()

    def objective(u: float) -> float:
        return float(t * rho(a)(np.float64(u)) + 0.5 * (w - u) ** 2)

    found = prox.prox_transformed_l1(weight, t, a).item()
    best = prox.prox_transformed_l1(weight.double(), t, a).item()
    assert 0 <= found <= w
    assert objective(found) <= min(objective(best), objective(0.0)) * (1 + 1e-5) + 1e-12 * w * w


PROXES = [prox.prox_l0, prox.prox_l1, prox.prox_transformed_l1, prox.prox_group_l0, prox.prox_group_lasso]


@pytest.mark.parametrize("apply", PROXES)
def test_prox_without_penalty_is_the_identity(apply: Callable[[Tensor, float], Tensor]) -> None:
    w = torch.tensor([[-1e10, 3.3], [0.0, -0.0], [1e-12, 1e-15], [7.7, -1 / 3]]).view(4, 2, 1, 1)
    assert torch.equal(apply(w, 0.0), w)


@pytest.mark.parametrize("apply", PROXES)
def test_prox_keeps_nan(apply: Callable[[Tensor, float], Tensor]) -> None:
    w = torch.tensor([1.0, math.nan, 0.1]).view(1, 3, 1, 1)
    found = apply(w, 0.125).flatten()
    assert found.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("apply", PROXES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prox_of_the_largest_numbers_is_finite(
    apply: Callable[[Tensor, float], Tensor], dtype: torch.dtype
) -> None:
    w = torch.tensor([[1e18, -1e18], [1e-30, -1e-18]], dtype=dtype).view(2, 2, 1, 1)
    found = apply(w, 0.1)
    assert found.dtype == dtype
    assert found.isfinite().all()
    torch.testing.assert_close(found[0], w[0])
