"""What only a GPU can show of the fast way to train; run there, or skipped."""

import threading

import pytest
import torch
from torch import Tensor

from rtune.robust import PGD, RGSM, PreActResNet, Recipe, Split, Trainer, load
from rtune.robust.fast.gpu.captured import obstacle

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

ATTACK = PGD(0.1, 0.025, 5)


@pytest.fixture(scope="module")
def digits() -> tuple[Split, Split]:
    train, validation = load("digits")
    return train.to("cuda"), validation.to("cuda")


def trainer(train: Split, seed: int = 0, fast: bool = True, gamma: float = 0.0, epochs: int = 12) -> Trainer:
    torch.manual_seed(seed)
    model = PreActResNet(20, width=8, in_channels=1, members=2 if gamma else 1, gamma=gamma).cuda()
    pruner = RGSM(model, beta=1.0, lambda_1=0.01, lambda_2=1e-4)
    recipe = Recipe(max_epochs=epochs, batch_size=100, lr=0.1, crop_padding=1, flip=False)
    return Trainer(model, pruner, ATTACK, train, recipe, seed, fast)


def test_the_fast_way_is_taken(digits: tuple[Split, Split]) -> None:
    assert obstacle() is None
    assert trainer(digits[0]).slow is None


@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_it_trains_as_well_as_plain_float32(digits: tuple[Split, Split], gamma: float) -> None:
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


def test_measuring_agrees_with_the_plain_way(digits: tuple[Split, Split]) -> None:
    one = trainer(digits[0])
    for _ in range(6):
        one.train_epoch()
    other = trainer(digits[0], fast=False)
    other.load_state_dict(one.state_dict(), one.epoch)
    ours, theirs = (t.measure(digits[1], ATTACK) for t in (one, other))
    assert ours == pytest.approx(theirs, abs=3 / len(digits[1]))


@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_a_training_that_is_continued_is_one_that_never_stopped(
    digits: tuple[Split, Split], gamma: float
) -> None:
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


def test_trainings_of_one_process_do_not_meet(digits: tuple[Split, Split]) -> None:
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


def test_no_host_waits_within_an_epoch(digits: tuple[Split, Split]) -> None:
    one = trainer(digits[0])
    one.train_epoch()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for index in torch.arange(100, device="cuda").split(50):
            one._step(torch.nn.functional.pad(index, (0, 50)))
    finally:
        torch.cuda.set_sync_debug_mode("default")
