"""Trains one path or one independent network and measures the network at the end of each step."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims.arms import NETWORKS, splits
from benchmarks.paths.setups import METHODS, SETUPS, WALKS, Maker
from rtune.robust import (
    PGD,
    Diverged,
    PenaltyPath,
    PreActResNet,
    Split,
    Trainer,
    accuracy,
    channel_sparsity,
    seeded,
    weight_sparsity,
)
from rtune.robust.fast import engine_for

INDEPENDENT = "independent"


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        setup, method, network: keys of `SETUPS`, `METHODS` and `benchmarks.claims.arms.NETWORKS`.
        arm: a key of `WALKS`, or `independent`.
        rung: of an independent training, its rung of the ladder; 0 for a path.
        seed: of the split, the initial weights and the training.
    """

    setup: str
    method: str
    network: str
    arm: str
    rung: int
    seed: int


def run(job: Job, folder: Path | None, device: str) -> list[dict[str, Any]]:
    """The networks of a job: one row each, with all epochs and seconds of training until then.

    The rows of a training that diverges end before the step in which it did.
    """
    setup, method = SETUPS[job.setup], METHODS[job.method]
    train, validation = splits(setup, job.seed, device, folder, "validation")
    depth, members, gamma = NETWORKS[job.network]
    with seeded(job.seed, torch.device(device)):
        model = PreActResNet(depth, setup.width, train.images.shape[1], members=members, gamma=gamma).to(
            device
        )
    rungs, path, recipe = method.rungs[job.rung : job.rung + 1], PenaltyPath(), setup.recipe
    if job.arm != INDEPENDENT:
        walk = WALKS[job.arm]
        rungs = walk.rungs(method.rungs)
        path = PenaltyPath(
            rungs[1:],
            walk.epochs,
            recipe.lr * walk.lr,
            keep_momentum=walk.keep_momentum,
            keep_state=walk.keep_state,
        )
        recipe = replace(recipe, max_epochs=recipe.max_epochs + len(path.stronger) * walk.epochs)
    trainer = Trainer(
        model,
        rungs[0](model),
        PGD(*setup.attack),
        train,
        recipe,
        job.seed,
        engine=engine_for(device),
        path=path,
    )
    return _measured(trainer, job, rungs, validation)


def _measured(
    trainer: Trainer, job: Job, rungs: tuple[Maker, ...], validation: Split
) -> list[dict[str, Any]]:
    ladder = METHODS[job.method].rungs
    attack = PGD(*SETUPS[job.setup].evaluation, random_start=False)
    rows, seconds = [], 0.0
    for maker, end in zip(rungs, trainer.path.ends(trainer.recipe.max_epochs), strict=True):
        begun = time.perf_counter()
        try:
            while trainer.epoch < end:
                trainer.train_epoch()
        except Diverged:
            break
        seconds += time.perf_counter() - begun
        with seeded(job.seed, validation.labels.device):
            natural, robust = (accuracy(trainer.model, validation, a) for a in (None, attack))
        rows.append(
            {
                **job.__dict__,
                "rung": ladder.index(maker),
                "epochs": end,
                "seconds": round(seconds, 2),
                "natural_accuracy": natural,
                "robust_accuracy": robust,
                "weight_sparsity": weight_sparsity(trainer.model),
                "channel_sparsity": channel_sparsity(trainer.model),
            }
        )
    return rows
