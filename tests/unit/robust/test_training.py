"""Training: the recipe, determinism, saving and going on, and that it learns at all."""

import pytest
import torch

from rtune.robust import (
    ADMM,
    PGD,
    RGSM,
    RVSM,
    Diverged,
    PreActResNet,
    Pruner,
    Recipe,
    Trainer,
    accuracy,
    load,
    seeded,
    weight_sparsity,
)
from rtune.robust.fast import engine_for
from rtune.robust.random import epoch_seed

RECIPE = Recipe(max_epochs=4, batch_size=128, milestones=(0.5,), crop_padding=1, flip=True)
PRUNERS = {
    "none": Pruner,
    "rvsm": lambda m: RVSM(m, beta=0.5, lambda_1=2e-3),
    "rgsm": lambda m: RGSM(m, beta=1.0, lambda_1=0.3, lambda_2=2e-2),
    "admm": lambda m: ADMM(m, rho=0.01, sparsity=0.6),
}

ATTACK = PGD(0.1, 0.08, 2)


def make(
    pruner: str,
    seed: int = 0,
    members: int = 1,
    recipe: Recipe = RECIPE,
    width: int = 4,
    attack: PGD = ATTACK,
) -> Trainer:
    torch.manual_seed(seed)
    model = PreActResNet(20, width, in_channels=1, members=members, gamma=0.1 if members > 1 else 0.0)
    return Trainer(
        model, PRUNERS[pruner](model), attack, load("digits")[0], recipe, seed, engine=engine_for("cpu")
    )


def same(a: Trainer, b: Trainer) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_learning_rate_steps_at_fractions_of_the_epochs() -> None:
    recipe = Recipe()
    assert [recipe.lr_at(e) for e in (0, 79, 80, 119, 120, 159, 160, 199)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4]
    )


@pytest.mark.parametrize("pruner", PRUNERS)
def test_continuing_from_a_saved_state_is_bitwise_equal(pruner: str) -> None:
    straight = make(pruner, members=2)
    straight.train_epoch()
    saved = {k: v.clone() for k, v in straight.state_dict().items()}
    torch.rand(17)  # whatever else the process does with torch's generator
    straight.train_epoch()

    other = make(pruner, seed=0, members=2)
    other.model.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
    other.load_state_dict(saved, epoch=1)
    other.train_epoch()
    assert other.epoch == 2
    assert same(straight, other)


def test_seed_determines_the_training_without_the_global_generator() -> None:
    a, b, c = make("rvsm"), make("rvsm"), make("rvsm", seed=1)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a.train_epoch()
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    b.train_epoch()
    c.train_epoch()
    assert same(a, b)
    assert not same(a, c)


def test_epoch_seeds_are_unique_over_epochs_and_streams() -> None:
    seeds = {
        epoch_seed(seed, epoch, stream)
        for seed in range(4)
        for epoch in range(4095)
        for stream in ("data", "noise", "evaluation")
    }
    assert len(seeds) == 4 * 4095 * 3


def test_admm_continues_from_its_dense_weights() -> None:
    trainer = make("admm")
    trainer.train_epoch()
    assert weight_sparsity(trainer.model) == pytest.approx(0.6, abs=1e-3)
    trainer.pruner.resume()
    assert weight_sparsity(trainer.model) == 0


def test_nonfinite_loss_raises_diverged() -> None:
    trainer = make("none", recipe=Recipe(max_epochs=2, lr=1e12, crop_padding=0, flip=False))
    with pytest.raises(Diverged, match=r"loss is (nan|inf) in epoch 1"):
        trainer.train_epoch()


def test_nonfinite_weights_after_the_last_batch_raise_diverged() -> None:
    recipe = Recipe(max_epochs=1, batch_size=2000, lr=1e38, weight_decay=1e3, crop_padding=0, flip=False)
    with pytest.raises(Diverged, match="a weight is not finite after epoch 1"):
        make("none", recipe=recipe).train_epoch()


def test_training_on_digits_gives_robust_accuracy_and_sparsity() -> None:
    # With fewer or longer steps the network may learn to fool the attack alone.
    recipe = Recipe(6, 32, milestones=(0.7,), crop_padding=0, flip=False)
    trainer = make("rgsm", recipe=recipe, width=8, attack=PGD(0.1, 0.025, 7))
    for _ in range(6):
        trainer.train_epoch()
    validation = load("digits")[1]
    # Over seeds 0.77 to 0.95 and 0.56 to 0.78: nine of ten channels are gone.
    assert accuracy(trainer.model, validation) > 0.6
    assert accuracy(trainer.model, validation, PGD(0.1, 0.025, 7, random_start=False)) > 0.4
    assert weight_sparsity(trainer.model) > 0.3


def test_accuracy_counts_every_image_and_keeps_the_mode() -> None:
    trainer = make("none")
    validation = load("digits")[1]
    trainer.model.train()
    with seeded(0, torch.device("cpu")):
        whole = accuracy(trainer.model, validation, batch_size=360)
        parts = accuracy(trainer.model, validation, batch_size=7)
    assert whole == parts
    assert trainer.model.training
    trainer.model.eval()
    with torch.no_grad():
        hits = trainer.model(validation.images / 255).argmax(1) == validation.labels
    assert whole == pytest.approx(hits.float().mean().item())
