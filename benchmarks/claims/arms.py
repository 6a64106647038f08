"""What `benchmarks.paper` compares: networks, methods, and one training and its measurement.

Needs torch, numpy and scikit-learn alone, so that it runs on a bare GPU machine.
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
from rtune.robust.models import PreActResNet
from rtune.robust.pruning import ADMM, RGSM, RVSM, Pruner, channel_sparsity, weight_sparsity
from rtune.robust.training import Diverged, Recipe, Trainer, seeded

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
        train_images, test_images: at most so many, the same number of each class; 0 for all.
        seeds: trainings of each arm.
        recipe: see `rtune.robust.training.Recipe`.
        attack: (epsilon, step_size, steps) of the training attack, PGD with a random start.
        evaluation: (epsilon, step_size, steps) of the attacks on the trained network.
        betas: RVSM's ladder of beta, smallest first, at `rvsm_lambda_1`.
        rvsm_lambda_1: the paper's lambda, fixed along the ladder.
        lambdas: RGSM's ladder of lambda_1, smallest first, at beta = 1 and `rgsm_lambda_2`.
        rgsm_lambda_2: weight of the group lasso in the loss, fixed along the ladder.
        rgsm_rungs: for each network, the rungs of `lambdas` that it is trained on.
        pool: images are averaged over squares of so many pixels a side; 1 for the images as they are.
        eot_draws: noise draws behind each gradient of EOT-PGD on a noisy network.
        draws: passes over which a noisy network's accuracy is averaged.
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
        rung: its place on the method's ladder, from 0, the smallest value.
        settings: the method's parameters by their names.
    """

    network: str
    method: str
    rung: int = 0
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def key(self) -> str:
        """What the statements call it, whatever the ladder's values: `en2/rgsm/0`."""
        return f"{self.network}/{self.method}/{self.rung}"


class RVSMUnreplaced(RVSM):
    """RVSM whose weights are never replaced by their sparse copy: the ablation of w <- u."""

    def replace(self) -> None:
        """Leaves the weights as the last batch left them."""


def arms(preset: Preset) -> list[Arm]:
    """All arms of a preset, the slowest networks first so that workers end together."""
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
    """The arm's method on a network of its own."""
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
    """Trains one arm from one seed, measures the network of its last epoch once; the record of it.

    Nothing is chosen on the measured split: neither the epoch nor the setting. A training that
    diverged leaves a record without metrics.
    """
    cpu, wall = time.process_time(), time.perf_counter()
    train, measured = splits(preset, seed, device, folder, part)
    depth, members, gamma = NETWORKS[arm.network]
    with seeded(seed, torch.device(device)):
        model = PreActResNet(
            depth=depth, width=preset.width, in_channels=train.images.shape[1], members=members, gamma=gamma
        ).to(device)
    method = pruner(arm, model)
    trainer = Trainer(model, method, PGD(*preset.attack), train, preset.recipe, seed)
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
    """The paper's accuracies A1 to A4, the two sparsities, and accuracy under the honest PGD.

    `pgd-20` starts at random and, on a noisy network, averages each gradient over noise draws
    (EOT): against one draw the noise hides part of the gradient, which A2 to A4 do not see.
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
    # It costs as much as all the rest on a noisy network, and no statement needs it under RVSM.
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
    """The training images and those to measure on; a seed draws its own validation images.

    The test images are the same for every seed.
    """
    train, validation = load(preset.dataset, folder, seed, download=False)
    measured = validation if part == "validation" else load_test(preset.dataset, folder, download=False)
    return (
        pooled(stratified(train, preset.train_images, seed), preset.pool).to(device),
        pooled(stratified(measured, preset.test_images, 0), preset.pool).to(device),
    )


def stratified(split: Split, images: int, seed: int) -> Split:
    """At most `images` of a split, the same number of every class, drawn by `seed`; 0 for all."""
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
    """Images averaged over squares of `side` pixels, rounded to uint8; a CPU's way to larger images."""
    if side == 1:
        return split
    return Split(F.avg_pool2d(split.images.float(), side).round().to(torch.uint8), split.labels)


def _zeros(tensors: list[Tensor]) -> float:
    total = sum(t.numel() for t in tensors)
    return 1 - sum(int(t.count_nonzero()) for t in tensors) / total
