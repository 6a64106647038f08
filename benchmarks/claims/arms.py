"""The arms that `benchmarks.paper` compares (network and pruning method), their training and measurement.

Needs only torch, NumPy and scikit-learn, so that it runs on a GPU machine without rtune's dependencies.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtune.robust.attacks.pgd import PGD, Attack, cw, fgsm, ifgsm
from rtune.robust.data import Split, load, load_test
from rtune.robust.evaluation import outcomes
from rtune.robust.fast import engine_for
from rtune.robust.models import PreActResNet
from rtune.robust.pruning import ADMM, RGSM, RVSM, Pruner, channel_sparsity, weight_sparsity
from rtune.robust.random import seeded
from rtune.robust.recipe import Recipe
from rtune.robust.training import Diverged, Trainer

# (depth, members, gamma); gamma is the paper's.
NETWORKS = {
    "resnet20": (20, 1, 0.0),
    "en2": (20, 2, 0.1),
    "en5": (20, 5, 0.1),
    "resnet38": (38, 1, 0.0),
}
Metrics = dict[str, float]
Part = Literal["test", "validation"]


@dataclass(frozen=True)
class Preset:
    """A data set and the size at which the paper's comparisons are run on it.

    Attributes:
        dataset: a key of `rtune.robust.data.SOURCES`.
        width: channels of the first stage; 16 in the paper.
        train_images, test_images: largest number of images, equal for all classes; 0 for all images.
        seeds: number of trainings of each arm.
        recipe: see `rtune.robust.recipe.Recipe`.
        attack: (epsilon, step_size, steps) of the training attack, PGD with a random start.
        evaluation: (epsilon, step_size, steps) of the attacks on the trained network.
        betas: RVSM's ladder of beta, smallest first, at `rvsm_lambda_1`.
        rvsm_lambda_1: the paper's lambda, fixed along the ladder.
        lambdas: RGSM's ladder of lambda_1, smallest first, at beta = 1 and `rgsm_lambda_2`.
        rgsm_lambda_2: weight of the group lasso in the loss, fixed along the ladder.
        rgsm_rungs: for each network, the rungs of `lambdas` that it is trained on.
        pool: side in pixels of the squares over which images are averaged; 1 for no averaging.
        eot_draws: noise draws per gradient of EOT-PGD on a noisy network.
        draws: number of forward passes over which the accuracy of a noisy network is averaged.
    """

    dataset: str
    width: int
    train_images: int
    test_images: int
    seeds: int
    recipe: Recipe
    attack: tuple[float, float, int]
    evaluation: tuple[float, float, int]
    betas: tuple[float, ...]
    rvsm_lambda_1: float
    lambdas: tuple[float, ...]
    rgsm_lambda_2: float
    rgsm_rungs: tuple[tuple[str, tuple[int, ...]], ...]
    pool: int = 1
    eot_draws: int = 5
    draws: int = 5


@dataclass(frozen=True)
class Arm:
    """A network trained by a method.

    Attributes:
        network: a key of `NETWORKS`.
        method: `dense`, `rvsm`, `rgsm`, `admm-weights`, `admm-channels` or `rvsm-unreplaced`.
        rung: index in the ladder of the method, from 0, the smallest value.
        settings: the parameters of the method by name.
    """

    network: str
    method: str
    rung: int = 0
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def key(self) -> str:
        """Name of the arm in the statements, independent of the values of the ladder: `en2/rgsm/0`."""
        return f"{self.network}/{self.method}/{self.rung}"


class RVSMUnreplaced(RVSM):
    """RVSM without the replacement w <- u at the end of an epoch: an ablation."""

    def replace(self) -> None:
        """Does nothing: the weights stay dense."""


def arms(preset: Preset) -> list[Arm]:
    """All arms of a preset, the slowest networks first, so that all workers finish at about the same time."""
    fixed = ("lambda_1", preset.rvsm_lambda_1)
    rvsm = [(("beta", beta), fixed) for beta in preset.betas]
    rgsm = [
        (("beta", 1.0), ("lambda_1", value), ("lambda_2", preset.rgsm_lambda_2)) for value in preset.lambdas
    ]
    admm = (("rho", 1e-2), ("sparsity", 0.8))  # the paper's
    made = []
    for network, rungs in preset.rgsm_rungs:
        made.append(Arm(network, "dense"))
        made += [Arm(network, "rgsm", rung, rgsm[rung]) for rung in rungs]
        if network in ("resnet20", "en2"):
            made += [Arm(network, "rvsm", rung, settings) for rung, settings in enumerate(rvsm)]
        if network == "resnet20":
            made += [Arm(network, "admm-weights", 0, admm), Arm(network, "admm-channels", 0, admm)]
            made.append(Arm(network, "rvsm-unreplaced", 1, rvsm[1]))
    order = ["en5", "en2", "resnet38", "resnet20"]
    return sorted(made, key=lambda arm: order.index(arm.network))


def pruner(arm: Arm, model: nn.Module) -> Pruner:
    """The pruner of the arm for a network."""
    settings: dict[str, Any] = dict(arm.settings)
    makers: dict[str, Callable[[], Pruner]] = {
        "dense": lambda: Pruner(model),
        "rvsm": lambda: RVSM(model, **settings),
        "rvsm-unreplaced": lambda: RVSMUnreplaced(model, **settings),
        "rgsm": lambda: RGSM(model, **settings),
        "admm-weights": lambda: ADMM(model, granularity="weights", **settings),
        "admm-channels": lambda: ADMM(model, granularity="channels", **settings),
    }
    return makers[arm.method]()


def run(
    preset: Preset, arm: Arm, seed: int, device: str, folder: Path | None, part: Part = "test"
) -> dict[str, Any]:
    """Trains one arm with one seed and measures the network of the last epoch once; returns the record.

    Neither the epoch nor the setting is chosen on the measured split. The record of a training that diverged
    has no metrics.
    """
    cpu, wall = time.process_time(), time.perf_counter()
    train, measured = splits(preset, seed, device, folder, part)
    depth, members, gamma = NETWORKS[arm.network]
    with seeded(seed, torch.device(device)):
        model = PreActResNet(
            depth=depth, width=preset.width, in_channels=train.images.shape[1], members=members, gamma=gamma
        ).to(device)
    method = pruner(arm, model)
    engine = engine_for(device)
    trainer = Trainer(model, method, PGD(*preset.attack), train, preset.recipe, seed, engine=engine)
    metrics: Metrics | None
    try:
        for _ in range(preset.recipe.max_epochs):
            trainer.train_epoch()
        trained = time.process_time() - cpu
        with seeded(seed, torch.device(device)):
            metrics = measure(preset, arm, model, measured)
        if arm.method.startswith("rvsm"):
            metrics["copy_sparsity"] = _zeros(method.state()["u"])
        metrics = {name: round(value, 6) for name, value in metrics.items()}
    except Diverged:
        trained, metrics = time.process_time() - cpu, None
    return {
        "arm": arm.key,
        "seed": seed,
        "metrics": metrics,
        "train_cpu_seconds": round(trained, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "seconds": round(time.perf_counter() - wall, 2),
    }


def measure(preset: Preset, arm: Arm, model: nn.Module, split: Split) -> Metrics:
    """The accuracies A1 to A4 of the paper, the two sparsities, and the accuracy under PGD with EOT.

    `pgd-20` has a random start and, on a noisy network, averages each gradient over noise draws (expectation
    over transformation). The attacks of A2 to A4 use one draw, in which the noise hides part of the gradient.
    """
    epsilon, step_size, steps = preset.evaluation
    noisy = NETWORKS[arm.network][2] > 0
    honest = PGD(epsilon, step_size, steps, eot_draws=preset.eot_draws if noisy else 1)
    attacks: dict[str, Attack | None] = {
        "natural_accuracy": None,
        "fgsm": fgsm(epsilon),
        "ifgsm-20": ifgsm(epsilon, step_size, steps),
        "cw-20": cw(epsilon, step_size, steps),
    }
    # On a noisy network it costs as much as all other attacks, and no statement about RVSM needs it.
    if not (noisy and arm.method == "rvsm"):
        attacks["pgd-20"] = honest
    draws = preset.draws if noisy else 1
    metrics = {
        name: outcomes(model, split, attack, draws=draws).double().mean().item()
        for name, attack in attacks.items()
    }
    metrics["channel_sparsity"] = channel_sparsity(model)
    metrics["weight_sparsity"] = weight_sparsity(model)
    return metrics


@cache
def splits(
    preset: Preset, seed: int, device: str, folder: Path | None, part: Part = "test"
) -> tuple[Split, Split]:
    """The training images and the images to measure on.

    The validation images depend on the seed; the test images are the same for all seeds.
    """
    train, validation = load(preset.dataset, folder, seed, download=False)
    measured = validation if part == "validation" else load_test(preset.dataset, folder, download=False)
    return (
        pooled(stratified(train, preset.train_images, seed), preset.pool).to(device),
        pooled(stratified(measured, preset.test_images, 0), preset.pool).to(device),
    )


def stratified(split: Split, images: int, seed: int) -> Split:
    """A random subset of a split with at most `images` images, equally many of each class; all if 0."""
    if not 0 < images < len(split):
        return split
    rng = np.random.default_rng(seed)
    labels = split.labels.numpy()
    classes = np.unique(labels)
    each = images // len(classes)
    picked = [rng.permutation(np.flatnonzero(labels == label))[:each] for label in classes]
    index = torch.from_numpy(np.sort(np.concatenate(picked)))
    return Split(split.images[index], split.labels[index])


def pooled(split: Split, side: int) -> Split:
    """Images averaged over squares of `side` pixels and rounded to uint8, to reduce the work of a CPU."""
    if side == 1:
        return split
    return Split(F.avg_pool2d(split.images.float(), side).round().to(torch.uint8), split.labels)


def _zeros(tensors: list[Tensor]) -> float:
    total = sum(t.numel() for t in tensors)
    return 1 - sum(int(t.count_nonzero()) for t in tensors) / total
