"""The checks speak up on networks made to deceive, and stay silent on an honest one."""

import math

import pytest
import torch
from torch import Tensor, nn

from rtune.robust import PGD, PreActResNet, Pruner, Recipe, Split, Trainer, load, outcomes
from rtune.robust.diagnostics import Diagnosis, diagnose, paired_difference, passes, zero_gradients
from rtune.robust.fast import engine_for
from rtune.robust.models.parts import Noise

GREY = Split(torch.full((300, 1, 1, 2), 128, dtype=torch.uint8), torch.zeros(300, dtype=torch.int64))


def check(model: nn.Module, epsilon: float = 0.2, steps: int = 5, eot_draws: int = 2) -> Diagnosis:
    torch.manual_seed(0)
    return diagnose(model, GREY, PGD(epsilon, epsilon / 4, steps), eot_draws, noise_draws=4)


def mentions(found: Diagnosis, text: str) -> bool:
    return any(text in warning for warning in found.warnings)


class Liar(nn.Module):
    """Class 1 wins where the first pixel's distance from grey has `truth` above 0; gradients are `tale`'s."""

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)[:, 0] - 128 / 255
        tale = self.tale(x)
        rise = tale + (self.truth(x) - tale).detach()
        return torch.stack([torch.zeros_like(rise), rise], dim=1)

    def tale(self, x: Tensor) -> Tensor:
        return x

    def truth(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class WindowNearby(Liar):
    """Fooled only at a middle distance, past which every attack is led."""

    def truth(self, x: Tensor) -> Tensor:
        return torch.where((x > 0.08) & (x < 0.12), 1.0, -1.0)


class GoodFirstStep(Liar):
    """The gradient is right at the image itself and leads away anywhere else."""

    def tale(self, x: Tensor) -> Tensor:
        return torch.where(x.abs() < 1e-6, x, -x)

    def truth(self, x: Tensor) -> Tensor:
        return torch.where(x > 0.19, 1.0, -1.0)


class FarAway(Liar):
    """Slopes truly, but further than the steps reach without a longer walk."""

    def truth(self, x: Tensor) -> Tensor:
        return torch.where(x > 0.19, 1.0, -1.0)


class GoodStart(Liar):
    """The gradient leads away from the image itself to the left, but to the right once past a point."""

    def tale(self, x: Tensor) -> Tensor:
        return torch.where(x < 0.05, -x, x)

    def truth(self, x: Tensor) -> Tensor:
        return torch.where(x > 0.19, 1.0, -1.0)


class Confident(Liar):
    """So sure that the cross-entropy's gradient rounds to zero."""

    def tale(self, x: Tensor) -> Tensor:
        return 1e4 * x

    def truth(self, x: Tensor) -> Tensor:
        return 1e4 * x - 200


class Blurred(nn.Module):
    """A linear network whose weights are noisy, image by image: a gradient is mostly noise."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.noise = Noise(gamma, members=1)
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))

    def forward(self, images: Tensor) -> Tensor:
        noisy = self.noise(self.weight.expand(len(images), 2))
        x = images.flatten(1) - 128 / 255
        # The class depends on the clean weights: only the gradient is blurred.
        score = (x * noisy).sum(1)
        score = score + (x @ self.weight + 0.3 - score).detach()
        return torch.stack([score, -score], dim=1)


def test_warns_if_robust_accuracy_rises_with_epsilon() -> None:
    found = check(WindowNearby())
    assert found.figures["pgd, half the epsilon"].accuracy < found.figures["pgd"].accuracy
    assert mentions(found, "robust accuracy rises with epsilon (from half of it to epsilon)")


def test_warns_if_a_single_step_is_stronger_than_many() -> None:
    found = check(GoodFirstStep())
    assert (found.figures["fgsm"].accuracy, found.figures["pgd"].accuracy) == (0.0, 1.0)
    assert mentions(found, "fgsm beats pgd-5")


def test_warns_about_too_few_steps() -> None:
    found = check(FarAway(), steps=2)
    assert mentions(found, "pgd-10 beats pgd-2: the attack has not converged")


def test_warns_if_a_random_start_makes_the_attack_stronger() -> None:
    found = check(GoodStart(), steps=5)
    assert (found.figures["ifgsm"].accuracy, found.figures["pgd"].accuracy < 0.8) == (1.0, True)
    assert mentions(found, "a random start makes pgd-5 stronger than ifgsm-5")


def test_warns_if_robust_accuracy_rises_beyond_epsilon() -> None:
    found = check(WindowNearby(), epsilon=0.1)
    assert mentions(found, "robust accuracy rises with epsilon (from epsilon to twice of it)")


def test_warns_if_the_margin_loss_is_stronger_than_cross_entropy() -> None:
    found = check(Confident(), epsilon=0.2, steps=5)
    assert (found.figures["ifgsm"].accuracy, found.figures["cw"].accuracy) == (1.0, 0.0)
    assert found.figures["pgd"].accuracy > 0.5  # its random start alone fools some
    assert mentions(found, "cw-5 beats pgd-5: the cross-entropy is the weaker loss here")


def test_zero_gradients_are_counted() -> None:
    found = check(Confident())
    assert found.zero_gradients == zero_gradients(Confident(), GREY) == 300
    assert mentions(found, "the gradient at 300 images is zero")


def test_warns_if_noise_hides_gradients() -> None:
    found = check(Blurred(gamma=2.0))
    assert found.figures["transfer"].accuracy < found.figures["pgd"].accuracy
    assert mentions(found, "an attack on the noise-free twin beats the white-box one")
    assert mentions(found, "more than 2 noise draws a gradient help")
    enough = check(Blurred(gamma=2.0), eot_draws=100)
    assert mentions(enough, "averaging gradients over 100 noise draws helps: report eot-pgd")
    assert not mentions(enough, "noise-free twin")


@pytest.mark.parametrize("noisy", [False, True])
def test_no_warning_for_a_network_without_hidden_gradients(noisy: bool) -> None:
    train, validation = load("digits")
    torch.manual_seed(0)
    size = {"members": 2, "gamma": 0.05} if noisy else {}
    model = PreActResNet(20, width=2, in_channels=1, **size)
    recipe = Recipe(max_epochs=2, batch_size=32, milestones=(0.7,), crop_padding=0, flip=False)
    trainer = Trainer(
        model, Pruner(model), PGD(0.07, 0.07, 1), train, recipe, seed=0, engine=engine_for("cpu")
    )
    for _ in range(2):
        trainer.train_epoch()
    some = Split(validation.images[:100], validation.labels[:100])
    seen: list[int] = []
    found = diagnose(model, some, PGD(0.07, 0.02, 6), eot_draws=2, noise_draws=4, on_batch=seen.append)
    # That more steps, draws or another loss help is advice on what to report, and no deceit.
    advice = ("report", "converged", "raise --eot-draws")
    assert [w for w in found.warnings if not any(words in w for words in advice)] == []
    assert found.zero_gradients == 0
    assert sum(seen) == passes(model) * 100
    assert ("transfer" in found.figures) == noisy
    natural, attacked = found.figures["natural"], found.figures["pgd, twice the epsilon"]
    assert attacked.accuracy < natural.accuracy
    assert (natural.accuracy_std > 0) == noisy


def test_paired_difference_by_hand() -> None:
    a = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()  # by image: 1, 1, 0.5, 0
    b = torch.tensor([[1, 0, 0, 0]]).bool()
    difference, error = paired_difference(a, b)  # 0, 1, 0.5, 0
    assert difference == pytest.approx(0.375)
    assert error == pytest.approx(math.sqrt(((0.375**2) * 2 + 0.625**2 + 0.125**2) / 3 / 4))


def test_a_measurement_is_the_mean_and_spread_over_draws() -> None:
    from rtune.robust import Measurement

    found = Measurement.of(torch.tensor([[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]]).bool())
    assert found.accuracy == pytest.approx((0.75 + 0.5 + 1) / 3)
    assert found.accuracy_std == pytest.approx(0.25)
    assert (found.draws, found.images) == (3, 4)


def test_adversarial_images_are_made_once_for_all_noise_draws() -> None:
    made: list[int] = []

    def attack(_model: nn.Module, images: Tensor, _labels: Tensor) -> Tensor:
        made.append(len(images))
        return images

    right = outcomes(Blurred(1.0), GREY, attack, draws=3, batch_size=128)
    assert made == [128, 128, 44]
    assert right.shape == (3, 300)
