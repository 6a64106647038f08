"""Losses of training and of attacks, ours and anybody's; attacks that are not ours."""

import importlib
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtune.robust import PGD, Attack, CrossEntropy, Engine, PreActResNet, Pruner, Recipe, Split, Trainer, cw
from rtune.robust.fast import engine_for
from rtune.robust.losses import AttackCrossEntropy, Loss, Margin, margin

ENGINES = {"plain": Engine(), "cpu": engine_for("cpu")}


def toy() -> Split:
    """Two classes: a bright left or right half."""
    torch.manual_seed(0)
    labels = torch.arange(64) % 2
    images = torch.randint(0, 60, (64, 1, 4, 4))
    images[labels == 0, :, :, :2] += 150
    images[labels == 1, :, :, 2:] += 150
    return Split(images.to(torch.uint8), labels)


def trainer(loss: Loss, attack: Attack, engine: Engine) -> Trainer:
    torch.manual_seed(0)
    model = PreActResNet(20, width=2, in_channels=1, classes=2)
    recipe = Recipe(max_epochs=4, batch_size=16, lr=0.05, milestones=(), crop_padding=0, flip=False)
    return Trainer(model, Pruner(model), attack, toy(), recipe, 0, loss, engine)


@dataclass(frozen=True)
class Divergence:
    """KL of the clean images' prediction from the attacked ones', as an outsider would write it."""

    needs_clean: ClassVar[bool] = True

    def __call__(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        assert clean is not None
        assert not clean.requires_grad
        return F.kl_div(logits.log_softmax(1), clean.softmax(1), reduction="none").sum(dim=1)


# --- training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_training_reduces_a_custom_loss(engine: str) -> None:
    seen: list[tuple[bool, float]] = []

    def squared(model: nn.Module, natural: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
        seen.append((model.training, (natural - adversarial).abs().max().item()))
        wanted = F.one_hot(labels, 2)
        return sum((model(x).softmax(1) - wanted).square().sum(dim=1).mean() for x in (natural, adversarial))

    one = trainer(squared, PGD(0.1, 0.05, 2), ENGINES[engine])
    losses = [one.train_epoch() for _ in range(4)]
    assert losses[-1] < 0.5 * losses[0]
    assert all(training for training, _ in seen)
    assert all(0.05 < away <= 0.1 + 1e-6 for _, away in seen)
    natural, robust = one.measure(toy(), PGD(0.1, 0.05, 2))
    assert natural >= robust > 0.9


def test_cross_entropy_is_computed_on_the_adversarial_images() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    natural, adversarial, labels = torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4), torch.randint(3, (5,))
    found = CrossEntropy()(model, natural, adversarial, labels)
    picked = model(adversarial).softmax(1)[torch.arange(5), labels]
    torch.testing.assert_close(found, -picked.log().mean())


@pytest.mark.parametrize("name", ["CrossEntropy", "Margin", "AttackCrossEntropy"])
def test_each_loss_can_be_built_by_its_name(name: str) -> None:
    assert callable(getattr(importlib.import_module("rtune.robust.losses"), name)())


# --- attacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"restarts": 3}, {"eot_draws": 2}, {"random_start": False}])
def test_pgd_on_a_custom_loss_stays_in_its_ball_and_increases_the_loss(settings: dict[str, int]) -> None:
    torch.manual_seed(0)
    model = PreActResNet(20, width=2, in_channels=1).eval()
    images, labels = torch.rand(8, 1, 8, 8), torch.randint(10, (8,))
    attack = PGD(0.1, 0.03, 4, loss=Divergence(), **{"random_start": True, **settings})  # type: ignore[arg-type]
    made = attack(model, images, labels)
    if attack.random_start:  # at the image itself the divergence has no gradient
        with torch.no_grad():
            clean = model(images)
            start = images + 0.1 * (2 * torch.rand_like(images) - 1)
            before, after = (Divergence()(model(x), labels, clean) for x in (start.clamp(0, 1), made))
        assert after.mean() > before.mean()
    assert (made - images).abs().max() <= 0.1 + 1e-6
    assert made.min() >= 0
    assert made.max() <= 1
    assert all(p.grad is None for p in model.parameters())


def test_clean_logits_are_computed_once_per_attack_and_only_if_needed() -> None:
    images, labels = torch.rand(4, 1, 2, 2), torch.randint(3, (4,))
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    given: list[Tensor | None] = []
    passes: list[Tensor] = []
    linear.register_forward_pre_hook(lambda _, args: passes.append(args[0].detach().clone()))

    class Noting:
        def __init__(self, needs_clean: bool) -> None:
            self.needs_clean = needs_clean

        def __call__(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
            given.append(clean)
            return margin(logits, labels)

    for wanted in (True, False):
        given.clear()
        passes.clear()
        PGD(0.1, 0.05, 3, restarts=2, eot_draws=2, loss=Noting(wanted))(linear, images, labels)
        assert sum(torch.equal(x, images) for x in passes) == wanted
        assert len(given) == 2 * 3 * 2
        for clean in given:
            if wanted:
                assert torch.equal(clean, linear(images))  # type: ignore[arg-type]
            else:
                assert clean is None


def test_attacks_with_equal_settings_are_equal() -> None:
    assert {PGD(0.1, 0.1, 1, loss=Margin()): 1}[cw(0.1, 0.1, 1)] == 1
    assert PGD(0.1, 0.1, 1) == PGD(0.1, 0.1, 1, loss=AttackCrossEntropy()) != cw(0.1, 0.1, 1)


# --- attacks of anybody's -----------------------------------------------------------------------


class Flipped(PGD):
    """A subclass with a way of its own: it turns images upside down."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return images.flip(2)


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return images.flip(2)


@pytest.mark.parametrize("attack", [Flipped(0.1, 0.1, 1), Unhashable(), lambda _, images, __: images.flip(2)])
@pytest.mark.parametrize("engine", ENGINES)
def test_custom_attack_is_used_unchanged_in_training_and_measurement(engine: str, attack: Attack) -> None:
    seen: list[bool] = []

    def loss(model: nn.Module, natural: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
        seen.append(torch.equal(adversarial, natural.flip(2)))
        return F.cross_entropy(model(adversarial), labels)

    one = trainer(loss, attack, ENGINES[engine])
    one.train_epoch()
    assert seen == [True] * 4
    data = toy()
    upside_down = Split(data.images.flip(2), data.labels)
    assert one.measure(data, attack)[1] == one.measure(upside_down, attack)[0]
