"""Attacks: inside the ball, right by hand on a linear model, stronger with more steps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rtune.robust import PGD, PreActResNet, fgsm, ifgsm


class Linear(nn.Module):
    """Two classes on a 1x1x2 image; the loss of class 0 grows with -w . x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        score = images.flatten(1) @ self.weight
        return torch.stack([score, -score], dim=1)


def test_fgsm_by_hand() -> None:
    images = torch.tensor([[0.5, 0.5], [0.05, 0.95]]).view(2, 1, 1, 2)
    labels = torch.tensor([0, 1])
    adversarial = fgsm(0.1)(Linear(), images, labels)
    # Class 0 is hurt along (-, +), class 1 along (+, -).
    assert adversarial.flatten(1).tolist() == [pytest.approx([0.4, 0.6]), pytest.approx([0.15, 0.85])]


def test_ifgsm_walks_to_the_balls_edge_and_the_images_edge() -> None:
    images = torch.tensor([[0.5, 0.98]]).view(1, 1, 1, 2)
    adversarial = ifgsm(0.1, 0.03, 5)(Linear(), images, torch.tensor([0]))
    assert adversarial.flatten().tolist() == pytest.approx([0.4, 1.0])


@settings(max_examples=25, deadline=None)
@given(
    epsilon=st.floats(0.001, 0.6),
    step=st.floats(0.001, 0.5),
    steps=st.integers(1, 4),
    random_start=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_never_outside_the_ball_or_the_image(
    epsilon: float, step: float, steps: int, random_start: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    model = PreActResNet(20, width=2, in_channels=1, gamma=0.1).eval()
    images, labels = torch.rand(3, 1, 8, 8).round(decimals=1), torch.randint(10, (3,))
    adversarial = PGD(epsilon, step, steps, random_start)(model, images, labels)
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert (adversarial - images).abs().max() <= epsilon + 1e-6
    assert not adversarial.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_random_start_fills_the_ball() -> None:
    torch.manual_seed(0)
    images = torch.full((2000, 1, 1, 2), 0.5)
    labels = torch.zeros(2000, dtype=torch.int64)
    start = PGD(0.1, 1e-9, 1)(Linear(), images, labels) - 0.5
    assert start.min().item() == pytest.approx(-0.1, abs=0.002)
    assert start.max().item() == pytest.approx(0.1, abs=0.002)
    assert start.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.05)


@pytest.mark.parametrize("wrong", [(0.0, 0.1, 1), (0.1, -1.0, 1), (0.1, 0.1, 0), (float("nan"), 0.1, 1)])
def test_senseless_attacks_are_refused(wrong: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        PGD(*wrong)
