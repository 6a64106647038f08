"""A fair ADMM: the sparsity asked for, to the weight, and duals that live as long as the training."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rtune.robust import (
    ADMM,
    PGD,
    RGSM,
    RVSM,
    Diverged,
    PreActResNet,
    Pruner,
    Recipe,
    Split,
    Trainer,
    channel_sparsity,
    load,
    weight_sparsity,
)
from rtune.robust.fast import engine_for
from rtune.worker import checkpoint

RECIPE = Recipe(max_epochs=4, batch_size=16, milestones=(0.5,), crop_padding=0, flip=False)


def make(
    sparsity: float, granularity: str = "weights", members: int = 1, seed: int = 0, recipe: Recipe = RECIPE
) -> Trainer:
    torch.manual_seed(seed)
    model = PreActResNet(20, width=2, in_channels=1, members=members, gamma=0.1 if members > 1 else 0.0)
    whole = load("digits")[0]
    few = Split(whole.images[:32], whole.labels[:32])
    pruner = ADMM(model, rho=0.1, sparsity=sparsity, granularity=granularity)
    return Trainer(model, pruner, PGD(0.1, 0.08, 1), few, recipe, seed, engine=engine_for("cpu"))


def zeros(model: nn.Module, granularity: str) -> tuple[int, int]:
    """(zero weights or channels, all of them), counted here and not by the code under test."""
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    if granularity == "weights":
        units = [w for conv in convs for w in conv.weight.detach().flatten().tolist()]
    else:
        units = [
            float(filters[:, i].abs().sum())
            for conv in convs
            for filters in conv.weight.detach().chunk(conv.groups)
            for i in range(filters.shape[1])
        ]
    return sum(unit == 0 for unit in units), len(units)


CASES = [
    *itertools.product([0.0, 0.8], ["weights", "channels"], [1, 2]),
    (0.37, "weights", 2),
    (0.999, "channels", 2),
]


@pytest.mark.parametrize(("sparsity", "granularity", "members"), CASES)
def test_training_ends_with_exactly_the_requested_sparsity(
    sparsity: float, granularity: str, members: int, tmp_path: Path
) -> None:
    trainer = make(sparsity, granularity, members)
    trainer.train_epoch()
    zero, count = zeros(trainer.model, granularity)
    assert zero == round(sparsity * count)
    measure = weight_sparsity if granularity == "weights" else channel_sparsity
    assert measure(trainer.model) == zero / count

    saved = checkpoint.Checkpoint("t0001", {}, [{}], trainer.state_dict())
    other = make(sparsity, granularity, members, seed=1)
    other.load_state_dict(checkpoint.read(checkpoint.write(tmp_path, saved)).tensors, epoch=1)
    other.seed = 0
    assert zeros(other.model, granularity) == (zero, count)
    trainer.train_epoch()
    other.train_epoch()
    assert zeros(other.model, granularity) == (zero, count)
    for a, b in zip(trainer.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_duals_are_kept_between_epochs_and_change_the_result() -> None:
    trainer = make(0.8)
    trainer.train_epoch()
    saved = {k: v.clone() for k, v in trainer.state_dict().items()}
    duals = [k for k in saved if k.startswith("pruner.z.")]
    assert len(duals) == len(trainer.pruner.weights)
    assert all(saved[k].abs().max() > 0 for k in duals)
    trainer.pruner.resume()  # the next epoch begins with the duals of the last
    assert all(torch.equal(trainer.pruner.z[i], saved[f"pruner.z.{i}"]) for i in range(len(duals)))

    def second_epoch(state: dict[str, Tensor]) -> Tensor:
        other = make(0.8, seed=1)
        other.seed = 0
        other.load_state_dict(state, epoch=1)
        other.train_epoch()
        return torch.cat([d.flatten() for d in other.pruner.dense])

    kept = second_epoch(saved)
    assert torch.equal(kept, second_epoch(saved))
    forgotten = second_epoch({k: torch.zeros_like(v) if k in duals else v for k, v in saved.items()})
    assert not torch.equal(kept, forgotten)


def convs(*values: list[float]) -> nn.Sequential:
    """A chain of 1x1 convolutions, each with these weights, one an input channel."""
    model = nn.Sequential(*(nn.Conv2d(len(v), 1, 1, bias=False, dtype=torch.float64) for v in values))
    for conv, v in zip(model, values, strict=True):
        conv.weight.data = torch.tensor(v, dtype=torch.float64).view_as(conv.weight)
    return model


few_values = st.sampled_from([0.0, 0.5, -0.5, 1.0, -1.0]) | st.floats(-2, 2)


@settings(deadline=None)
@given(
    values=st.lists(few_values, min_size=2, max_size=7),
    sparsity=st.floats(0, 0.999),
    granularity=st.sampled_from(["weights", "channels"]),
    cut=st.integers(1, 6),
)
def test_projection_is_the_nearest_point_of_its_sparsity(
    values: list[float], sparsity: float, granularity: str, cut: int
) -> None:
    """Against every choice of what to keep, with ties and zeros, over two layers ranked together."""
    layers = [part for part in (values[:cut], values[cut:]) if part]
    model = convs(*layers)
    ADMM(model, rho=0.1, sparsity=sparsity, granularity=granularity).replace()
    found = torch.cat([conv.weight.detach().flatten() for conv in model])
    wanted = round(sparsity * len(values))
    assert int((found == 0).sum()) == max(wanted, values.count(0.0))
    w = torch.tensor(values, dtype=torch.float64)
    nearest = min(
        sum(values[i] ** 2 for i in gone) for gone in itertools.combinations(range(len(values)), wanted)
    )
    assert float((w - found).square().sum()) == pytest.approx(nearest, abs=1e-12)
    assert torch.equal(found[found != 0], w[found != 0])  # what is kept is kept as it is


def test_sparsity_that_rounds_to_one_prunes_all_weights_and_training_continues() -> None:
    model = convs([1.0, 2.0, 3.0])
    ADMM(model, rho=0.1, sparsity=0.9).replace()
    assert zeros(model, "weights") == (3, 3)
    trainer = make(0.999, "channels", members=1)
    assert round(0.999 * zeros(trainer.model, "channels")[1]) == zeros(trainer.model, "channels")[1]
    assert math.isfinite(trainer.train_epoch())
    trainer.pruner.resume()
    assert zeros(trainer.model, "weights")[0] == 0


METHODS = {
    "rvsm": lambda m: RVSM(m, beta=0.5, lambda_1=0.02),
    "rvsm-l1": lambda m: RVSM(m, beta=0.5, lambda_1=0.02, penalty="l1"),
    "rvsm-transformed-l1": lambda m: RVSM(m, beta=0.5, lambda_1=0.02, penalty="transformed_l1"),
    "rgsm": lambda m: RGSM(m, beta=1.0, lambda_1=0.9, lambda_2=1e-3),
    "rgsm-lasso": lambda m: RGSM(m, beta=1.0, lambda_1=0.9, lambda_2=1e-3, penalty="group_lasso"),
    "admm": lambda m: ADMM(m, rho=0.1, sparsity=0.8),
    "admm-channels": lambda m: ADMM(m, rho=0.1, sparsity=0.999, granularity="channels"),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_divergence_is_detected_although_pruning_makes_zeros(name: str, bad: float) -> None:
    """A weight breaks in the last batch, after the last loss: the epoch must not end well."""

    class Breaks(Pruner):
        def __init__(self, model: nn.Module, inner: Pruner) -> None:
            super().__init__(model)
            self.inner = inner

        def update(self) -> None:
            with torch.no_grad():
                self.weights[3].view(-1)[5] = bad
            self.inner.update()

    for method in ("pull", "replace", "resume"):
        setattr(Breaks, method, lambda self, *args, _m=method: getattr(self.inner, _m)(*args))
    trainer = make(0.8, recipe=Recipe(1, 64, crop_padding=0, flip=False))
    trainer.pruner = Breaks(trainer.model, METHODS[name](trainer.model))
    with pytest.raises(Diverged, match="a weight is not finite after epoch 1"):
        trainer.train_epoch()


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 80])
def test_sparsity_outside_the_unit_interval_is_refused(sparsity: float) -> None:
    with pytest.raises(ValueError, match=f"sparsity is {sparsity}; it is a fraction, at least 0 and below 1"):
        ADMM(convs([1.0]), rho=0.1, sparsity=sparsity)
