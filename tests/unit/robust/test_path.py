"""Penalty paths: their schedule, what a step takes over, and continuing inside and between steps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rtune.robust import (
    ADMM,
    PGD,
    RGSM,
    RVSM,
    PenaltyPath,
    PreActResNet,
    Pruner,
    Recipe,
    Split,
    Trainer,
    channel_sparsity,
    ladder,
    load,
    weight_sparsity,
)
from rtune.robust.fast import engine_for

MAKERS = {
    "rvsm": lambda strength: lambda model: RVSM(model, beta=0.5, lambda_1=2e-3 * strength),
    "rgsm": lambda strength: lambda model: RGSM(model, 1.0, lambda_1=0.1 * strength, lambda_2=5e-3),
    "admm": lambda strength: lambda model: ADMM(model, rho=0.01, sparsity=1 - 0.6 / strength),
}


def make(
    method: str, strengths: tuple[float, ...] = (2.0, 4.0), first: int = 2, epochs: int = 2, **kept: bool
) -> Trainer:
    makers = [MAKERS[method](strength) for strength in (1.0, *strengths)]
    path = PenaltyPath(tuple(makers[1:]), epochs, **kept)
    recipe = Recipe(first + epochs * len(strengths), 128, milestones=(0.5,), crop_padding=0, flip=False)
    torch.manual_seed(0)
    model = PreActResNet(20, 2, in_channels=1)
    digits = load("digits")[0]
    train = Split(digits.images[:256], digits.labels[:256])
    attack = PGD(0.1, 0.08, 1)
    return Trainer(model, makers[0](model), attack, train, recipe, 0, engine=engine_for("cpu"), path=path)


def same(a: Trainer, b: Trainer) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def copied(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.state_dict().items()}


@given(st.integers(0, 6), st.integers(1, 7), st.integers(1, 9))
def test_steps_follow_each_other_and_fill_the_training(further: int, epochs: int, first: int) -> None:
    path = PenaltyPath((Pruner,) * further, epochs)
    total = first + further * epochs
    steps = [path.step(epoch, total) for epoch in range(total)]
    assert steps == [0] * first + [i for i in range(1, further + 1) for _ in range(epochs)]
    assert path.ends(total) == [max(e for e in range(total) if steps[e] == i) + 1 for i in range(further + 1)]
    assert [e for e in range(total) if path.starts(e, total)] == path.ends(total)[:-1]
    assert path.step(total + 5, total) == further


def test_the_learning_rate_starts_again_in_each_step() -> None:
    recipe = Recipe(max_epochs=10, lr=0.1, milestones=(0.5,))
    path = PenaltyPath((Pruner, Pruner), epochs=3, lr=0.05)
    rates = [path.lr_at(recipe, epoch) for epoch in range(12)]
    step = [0.05, 0.05, 0.005]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, *step, *step, 0.005, 0.005])


@given(st.lists(st.floats(0.01, 1), max_size=4), st.integers(1, 300), st.integers(0, 400))
def test_a_path_of_one_step_has_the_rates_of_the_recipe(
    milestones: list[float], max_epochs: int, epoch: int
) -> None:
    recipe = Recipe(max_epochs=max_epochs, milestones=tuple(milestones))
    assert PenaltyPath().lr_at(recipe, epoch) == recipe.lr_at(epoch)


@pytest.mark.parametrize("method", MAKERS)
@pytest.mark.parametrize("kept", [False, True])
def test_a_saved_path_continues_bit_for_bit_inside_and_between_steps(method: str, kept: bool) -> None:
    straight = make(method, keep_momentum=kept, keep_state=kept)
    states = [copied(straight)]
    for _ in range(6):
        straight.train_epoch()
        states.append(copied(straight))
    for epoch in range(6):  # 2 and 4 are the ends of steps
        other = make(method, keep_momentum=kept, keep_state=kept)
        other.load_state_dict(states[epoch], epoch)
        while other.epoch < 6:
            other.train_epoch()
        assert same(straight, other), f"continued after epoch {epoch}"


def test_loading_an_earlier_state_goes_back_to_its_step() -> None:
    trainer = make("rvsm")
    trainer.train_epoch()
    early = copied(trainer)
    trainer.train_epoch()
    expected = copied(trainer)
    trainer.train_epoch()
    trainer.load_state_dict(early, 1)
    trainer.train_epoch()
    assert all(torch.equal(expected[name], tensor) for name, tensor in trainer.state_dict().items())


@pytest.mark.parametrize("method", MAKERS)
def test_the_first_step_is_the_training_without_a_path(method: str) -> None:
    alone, path = make(method, strengths=()), make(method)
    for _ in range(2):
        assert alone.train_epoch() == path.train_epoch()
    assert same(alone, path)


@pytest.mark.parametrize(
    ("method", "sparsity"), [("rvsm", weight_sparsity), ("rgsm", channel_sparsity), ("admm", weight_sparsity)]
)
def test_sparsity_grows_from_step_to_step(method: str, sparsity) -> None:
    trainer = make(method, strengths=(4.0, 16.0))
    found = []
    for _ in range(3):
        trainer.train_epoch()
        trainer.train_epoch()
        found.append(sparsity(trainer.model))
    assert found[0] < found[1] < found[2]


def test_a_step_starts_from_the_sparse_network_or_from_the_state_before() -> None:
    seen: list[nn.Module] = []

    def watched(model: nn.Module) -> ADMM:
        seen.append(model)
        return ADMM(model, rho=0.01, sparsity=0.9)

    for kept, dense in ((False, False), (True, True)):
        torch.manual_seed(0)
        model = PreActResNet(20, 2, in_channels=1)
        before = ADMM(model, rho=0.01, sparsity=0.5)
        before.replace()
        momentum = [torch.ones(3)]
        pruner = PenaltyPath((watched,), keep_state=kept, keep_momentum=kept).enter(
            1, model, before, momentum
        )
        assert seen.pop() is model
        pruner.resume()
        assert (weight_sparsity(model) < 0.01) == dense
        assert momentum[0].tolist() == [1.0 if kept else 0.0] * 3


def test_a_ladder_multiplies() -> None:
    assert ladder(0.1, 2, 4) == pytest.approx((0.1, 0.2, 0.4, 0.8))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((0.1, 1, 3), "factor is 1"), ((0.0, 2, 3), "first is 0.0"), ((0.1, 2, 1), "steps is 1")],
)
def test_a_ladder_must_rise(arguments: tuple[float, float, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ladder(*arguments)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"epochs": 0}, "epochs is 0"), ({"lr": 0.0}, "lr is 0.0"), ({"milestones": (1.5,)}, "milestones is")],
)
def test_settings_of_a_path_are_checked(settings, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PenaltyPath((Pruner,), **settings)


def test_the_first_step_needs_an_epoch() -> None:
    with pytest.raises(ValueError, match="max_epochs is 4; 2 further steps of 2 epochs leave none"):
        make("rvsm", first=0)
