"""What only a GPU can show of its engine; skipped elsewhere."""

import threading
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtune.robust import (
    PGD,
    RGSM,
    Attack,
    PreActResNet,
    Recipe,
    Split,
    Trainer,
    load,
)
from rtune.robust.fast import engine_for
from rtune.robust.losses import CrossEntropy, Loss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

ATTACK = PGD(0.1, 0.025, 5)


@pytest.fixture(scope="module")
def digits() -> tuple[Split, Split]:
    train, validation = load("digits")
    return train.to("cuda"), validation.to("cuda")


@dataclass(frozen=True)
class KL:
    """Divergence from the clean images' prediction."""

    needs_clean: ClassVar[bool] = True

    def __call__(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        assert clean is not None
        return F.kl_div(logits.log_softmax(1), clean.softmax(1), reduction="none").sum(dim=1)


def both(model: nn.Module, natural: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(model(natural), labels) + F.cross_entropy(model(adversarial), labels)


def trainer(
    train: Split,
    seed: int = 0,
    fast: bool = True,
    gamma: float = 0.0,
    epochs: int = 12,
    attack: Attack = ATTACK,
    loss: Loss = CrossEntropy(),
) -> Trainer:
    torch.manual_seed(seed)
    model = PreActResNet(20, width=8, in_channels=1, members=2 if gamma else 1, gamma=gamma).cuda()
    pruner = RGSM(model, beta=1.0, lambda_1=0.01, lambda_2=1e-4)
    recipe = Recipe(max_epochs=epochs, batch_size=100, lr=0.1, crop_padding=1, flip=False)
    engine = engine_for("cuda") if fast else None
    return Trainer(model, pruner, attack, train, recipe, seed, loss, engine)


def test_gpu_engine_is_used(digits: tuple[Split, Split]) -> None:
    engine = trainer(digits[0]).engine
    assert engine.obstacle is None
    assert type(engine).__name__ == "GPUEngine"


def test_attack_that_waits_for_the_gpu_uses_plain_pytorch(digits: tuple[Split, Split]) -> None:
    def still(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        assert images.max().item() <= 1
        return images

    one = trainer(digits[0], attack=still)
    assert one.engine.obstacle == "only PGD can be recorded, and the attack is another"
    one.train_epoch()
    other = trainer(digits[0])
    other.load_state_dict(one.state_dict(), one.epoch)
    natural, robust = other.measure(digits[1], still)
    assert natural == robust == one.measure(digits[1], still)[0]


def test_other_losses_are_captured_too(digits: tuple[Split, Split]) -> None:
    attack = PGD(0.1, 0.025, 5, loss=KL())
    one = trainer(digits[0], attack=attack, loss=both)
    assert one.engine.obstacle is None
    losses = [one.train_epoch() for _ in range(4)]
    assert losses[-1] < losses[0]
    assert all(0 <= figure <= 1 for figure in one.measure(digits[1], attack))


@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_gpu_engine_trains_as_well_as_plain_float32(digits: tuple[Split, Split], gamma: float) -> None:
    """Means over seeds of both accuracies, within three standard errors of their difference."""
    found: dict[bool, list[Tensor]] = {True: [], False: []}
    for fast in found:
        for seed in range(4):
            one = trainer(digits[0], seed, fast, gamma)
            for _ in range(12):
                one.train_epoch()
            found[fast].append(torch.tensor(one.measure(digits[1], ATTACK)))
    fast_way, plain = (torch.stack(found[fast]) for fast in (True, False))
    assert plain.mean(dim=0)[0] > 0.8
    error = (fast_way.var(dim=0) / 4 + plain.var(dim=0) / 4 + 1e-5).sqrt()
    assert ((fast_way.mean(dim=0) - plain.mean(dim=0)).abs() < 3 * error + 0.01).all()


def test_gpu_measurement_agrees_with_plain_pytorch(digits: tuple[Split, Split]) -> None:
    one = trainer(digits[0])
    for _ in range(6):
        one.train_epoch()
    other = trainer(digits[0], fast=False)
    other.load_state_dict(one.state_dict(), one.epoch)
    ours, theirs = (t.measure(digits[1], ATTACK) for t in (one, other))
    assert ours == pytest.approx(theirs, abs=3 / len(digits[1]))


@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_continued_training_equals_an_uninterrupted_one(digits: tuple[Split, Split], gamma: float) -> None:
    whole = trainer(digits[0], gamma=gamma)
    for _ in range(3):
        whole.train_epoch()
        whole.measure(digits[1], ATTACK)
    first = trainer(digits[0], gamma=gamma)
    first.train_epoch()
    second = trainer(digits[0], seed=0, gamma=gamma)
    second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()}, first.epoch)
    for _ in range(2):
        second.train_epoch()
    assert _same(whole, second)


def test_parallel_trainings_in_one_process_are_independent(digits: tuple[Split, Split]) -> None:
    """Four at once, each on a thread and a stream of its own, end as they do one after the other."""

    def run(one: Trainer) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(3):
                one.train_epoch()
                one.measure(digits[1], ATTACK)
            torch.cuda.current_stream().synchronize()

    alone = [trainer(digits[0], seed, gamma=0.1) for seed in range(4)]
    for one in alone:
        run(one)
    together = [trainer(digits[0], seed, gamma=0.1) for seed in range(4)]
    torch.cuda.synchronize()
    threads = [threading.Thread(target=run, args=(one,)) for one in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(_same(a, b) for a, b in zip(alone, together, strict=True))


def _same(one: Trainer, other: Trainer) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_epoch_runs_without_waiting_for_the_gpu(digits: tuple[Split, Split]) -> None:
    one = trainer(digits[0])
    one.train_epoch()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for index in torch.arange(100, device="cuda").split(50):
            one._step(torch.nn.functional.pad(index, (0, 50)))
    finally:
        torch.cuda.set_sync_debug_mode("default")
