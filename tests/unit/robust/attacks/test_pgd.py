"""Attacks: inside the ball, right by hand on a linear model, honest about noise."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rtune.robust import PGD, CarliniL2, PreActResNet, cw, fgsm, ifgsm, seeded
from rtune.robust.attacks.pgd import input_gradient
from rtune.robust.losses import Margin, margin


class Linear(nn.Module):
    """Two classes on a 1x1x2 image; the loss of class 0 grows with -w . x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        score = images.flatten(1) @ self.weight
        return torch.stack([score, -score], dim=1)


class Noisy(Linear):
    """The same with the weights' signs blurred: one draw's gradient often points the wrong way."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        weight = self.weight + 3 * torch.randn(len(images), 2)
        score = (images.flatten(1) * weight).sum(dim=1)
        return torch.stack([score, -score], dim=1)


def test_fgsm_by_hand() -> None:
    images = torch.tensor([[0.5, 0.5], [0.05, 0.95]]).view(2, 1, 1, 2)
    labels = torch.tensor([0, 1])
    adversarial = fgsm(0.1)(Linear(), images, labels)
    # Class 0 is hurt along (-, +), class 1 along (+, -).
    assert adversarial.flatten(1).tolist() == [pytest.approx([0.4, 0.6]), pytest.approx([0.15, 0.85])]


def test_ifgsm_reaches_the_bounds_of_ball_and_image() -> None:
    images = torch.tensor([[0.5, 0.98]]).view(1, 1, 1, 2)
    adversarial = ifgsm(0.1, 0.03, 5)(Linear(), images, torch.tensor([0]))
    assert adversarial.flatten().tolist() == pytest.approx([0.4, 1.0])


def test_margin_by_hand() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.5], [0.0, -1.0, 4.0]])
    assert margin(logits, torch.tensor([0, 1])).tolist() == pytest.approx([-0.5, 5.0])


def test_margin_has_a_gradient_where_that_of_cross_entropy_vanishes() -> None:
    """A confident network: softmax rounds to 1, the cross-entropy's gradient to exactly 0."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    model[1].weight.data = torch.tensor([[1e3, 0.0], [0.0, 1e3]])
    images, labels = torch.tensor([[0.9, 0.3]]).view(1, 1, 1, 2), torch.tensor([0])
    assert input_gradient(model, images, labels).count_nonzero() == 0
    assert torch.equal(ifgsm(0.4, 0.1, 10)(model, images, labels), images)
    fooled = cw(0.4, 0.1, 10)(model, images, labels)
    assert model(fooled).argmax(dim=1).item() == 1


class TwoHills(nn.Module):
    """One pixel of class 0: class 1 can win to the right only, past a dip; elsewhere the slope leads left."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.flatten(1) - 0.5
        rise = torch.where(x < 0, -0.5 * x, torch.where(x < 0.02, -x, 10 * (x - 0.02))) - 0.2
        return torch.cat([torch.zeros_like(rise), rise], dim=1)


def test_restarts_keep_the_strongest_result_for_each_image() -> None:
    images, labels = torch.full((200, 1, 1, 1), 0.5), torch.zeros(200, dtype=torch.int64)
    model = TwoHills()
    with seeded(0, torch.device("cpu")):
        once = PGD(0.1, 0.02, 10)(model, images, labels)
    with seeded(0, torch.device("cpu")):
        often = PGD(0.1, 0.02, 10, restarts=6)(model, images, labels)
    fooled_once, fooled_often = (margin(model(x), labels) > 0 for x in (once, often))
    assert 0.2 < fooled_once.float().mean() < 0.6  # the starts right of the dip
    assert fooled_often.float().mean() > 0.9
    assert fooled_often[fooled_once].all()


def test_eot_sums_the_gradients_of_separate_draws() -> None:
    images, labels = torch.rand(4, 1, 1, 2), torch.tensor([0, 1, 0, 1])
    model = Noisy()
    torch.manual_seed(3)
    together = input_gradient(model, images, labels, eot_draws=5)
    torch.manual_seed(3)
    apart = sum(input_gradient(model, images, labels) for _ in range(5))
    torch.testing.assert_close(together, apart)


def test_eot_finds_a_gradient_that_noise_hides() -> None:
    torch.manual_seed(0)
    images = torch.full((500, 1, 1, 2), 0.5)
    labels = torch.zeros(500, dtype=torch.int64)

    def right_way(draws: int) -> float:
        moved = PGD(0.1, 0.1, 1, random_start=False, eot_draws=draws, loss=Margin())(Noisy(), images, labels)
        return (moved.flatten(1)[:, 1] > 0.5).float().mean().item()

    assert 0.6 < right_way(1) < 0.9  # P(N(-2, 3) < 0) = 0.75
    assert right_way(64) > 0.99


ATTACKS = {
    "pgd": lambda e, s, k: PGD(e, s, k),
    "ifgsm": lambda e, s, k: ifgsm(e, s, k),
    "fgsm": lambda e, s, k: fgsm(e),
    "pgd with restarts": lambda e, s, k: PGD(e, s, k, restarts=2),
    "eot-pgd": lambda e, s, k: PGD(e, s, k, eot_draws=2),
    "cw": lambda e, s, k: cw(e, s, k),
    "eot-cw": lambda e, s, k: cw(e, s, k, eot_draws=2),
}


@pytest.mark.parametrize("name", ATTACKS)
@settings(max_examples=15, deadline=None)
@given(
    epsilon=st.floats(0.001, 0.6),
    step=st.floats(0.001, 0.5),
    steps=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_pgd_stays_inside_the_ball_and_the_image_range(
    name: str, epsilon: float, step: float, steps: int, seed: int
) -> None:
    torch.manual_seed(seed)
    model = PreActResNet(20, width=2, in_channels=1, gamma=0.1).eval()
    images, labels = torch.rand(3, 1, 8, 8).round(decimals=1), torch.randint(10, (3,))
    adversarial = ATTACKS[name](epsilon, step, steps)(model, images, labels)
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert (adversarial - images).abs().max() <= epsilon + 1e-6
    assert not adversarial.requires_grad
    assert all(p.grad is None for p in model.parameters())


@settings(max_examples=15, deadline=None)
@given(epsilon=st.floats(0.01, 3), rate=st.floats(0.001, 1), seed=st.integers(0, 1000))
def test_carlini_l2_attack_stays_in_its_ball(epsilon: float, rate: float, seed: int) -> None:
    torch.manual_seed(seed)
    model = PreActResNet(20, width=2, in_channels=1).eval()
    images, labels = torch.rand(3, 1, 8, 8).round(decimals=1), torch.randint(10, (3,))
    adversarial = CarliniL2(epsilon, steps=3, search_steps=2, learning_rate=rate)(model, images, labels)
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert (adversarial - images).flatten(1).norm(dim=1).max() <= epsilon + 1e-5
    assert all(p.grad is None for p in model.parameters())


def test_carlini_l2_attack_finds_the_distance_to_a_plane() -> None:
    """The class changes where x_1 = 2 x_2: from (0.8, 0.2) the distance is 0.4 / sqrt(5)."""
    images, labels = torch.tensor([[0.8, 0.2]]).view(1, 1, 1, 2), torch.tensor([0])
    distance = 0.4 / math.sqrt(5)
    found = CarliniL2(math.inf, steps=300)(Linear(), images, labels)
    assert margin(Linear()(found), labels).item() > 0
    assert (found - images).norm().item() == pytest.approx(distance, rel=0.02)
    near = CarliniL2(0.95 * distance, steps=300)(Linear(), images, labels)
    assert margin(Linear()(near), labels).item() < 0  # out of reach: as far as it may go
    assert (near - images).norm().item() == pytest.approx(0.95 * distance, rel=1e-4)


def test_carlini_l2_attack_refuses_a_noisy_network() -> None:
    model = PreActResNet(20, width=2, in_channels=1, gamma=0.1).eval()
    with pytest.raises(ValueError, match="a noisy network has no least perturbation"):
        CarliniL2(0.5)(model, torch.rand(1, 1, 8, 8), torch.tensor([0]))


def test_random_start_fills_the_ball() -> None:
    torch.manual_seed(0)
    images = torch.full((2000, 1, 1, 2), 0.5)
    labels = torch.zeros(2000, dtype=torch.int64)
    start = PGD(0.1, 1e-9, 1)(Linear(), images, labels) - 0.5
    assert start.min().item() == pytest.approx(-0.1, abs=0.002)
    assert start.max().item() == pytest.approx(0.1, abs=0.002)
    assert start.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.05)


@pytest.mark.parametrize("wrong", [(0.0, 0.1, 1), (0.1, -1.0, 1), (0.1, 0.1, 0), (float("nan"), 0.1, 1)])
def test_invalid_attack_settings_are_refused(wrong: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        PGD(*wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PGD(0.1, 0.1, 1, restarts=0), "restarts is 0; it must be at least 1"),
        (lambda: PGD(0.1, 0.1, 1, eot_draws=0), "eot_draws is 0"),
        (lambda: PGD(0.1, 0.1, 1, random_start=False, restarts=2), "restarts is 2; without a random start"),
        (lambda: CarliniL2(0.0), "epsilon is 0.0; it must be above 0"),
        (lambda: CarliniL2(1.0, steps=0), "steps is 0"),
        (lambda: CarliniL2(1.0, confidence=-1), "confidence is -1"),
    ],
)
def test_attack_error_names_the_value(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
