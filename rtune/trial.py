"""One trial on one worker: continue from its checkpoint, train, evaluate, save, report."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from ray import tune

from rtune import build, checkpoint
from rtune.config import TrialConfig
from rtune.robust import (
    Diverged,
    Network,
    Split,
    Trainer,
    accuracy,
    channel_sparsity,
    footprint,
    seeded,
    weight_sparsity,
)
from rtune.robust.data import SOURCES
from rtune.robust.training import deterministic, epoch_seed


def run(task: dict[str, Any]) -> None:
    """The function Ray Tune calls.

    Args:
        task: `trial`, `seed`, `config` (a TrialConfig as a dict), `data_folder`, `folder` (the trial's),
            `logged` (epochs already in the run's log), `split_seed`, `threads`, `device`.
    """
    torch.set_num_threads(task["threads"])
    # Around the trial, not the worker: Ray uses it again for the next one.
    with deterministic(task["config"]["training"]["deterministic"]):
        try:
            for epoch, metrics in epochs(task):
                tune.report({"epoch": epoch, **metrics})
        except Diverged as error:
            tune.report({"diverged": str(error)})


def epochs(task: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The epochs that the log lacks, with their metrics; each is saved before it is yielded.

    An epoch that was saved but perhaps never logged (the worker or the driver died in between) is
    yielded from its checkpoint, not trained again; the driver passes over what it knows.
    """
    config = TrialConfig.model_validate(task["config"])
    folder = Path(task["folder"])
    device = torch.device(task["device"])
    data = config.data.model_copy(update={"folder": task["data_folder"]})
    train, validation = build.splits(data, task["split_seed"], device, download=False)
    trainer = build.trainer(config, train, task["seed"])
    saved, notes = checkpoint.newest(folder, task["trial"], task["config"])
    for note in notes:
        print(f"rtune: {note}; an older checkpoint is used", flush=True)
    if saved is not None:
        trainer.load_state_dict({k: v.to(device) for k, v in saved.tensors.items()}, saved.epoch)
        if saved.epoch > task["logged"]:
            yield saved.epoch, saved.metrics
    while trainer.epoch < config.training.max_epochs:
        metrics = measure_epoch(trainer, validation, config)
        checkpoint.write(
            folder,
            checkpoint.Checkpoint(
                task["trial"], trainer.epoch, task["config"], metrics, trainer.state_dict()
            ),
        )
        if trainer.epoch > task["logged"]:
            yield trainer.epoch, metrics


def measure_epoch(trainer: Trainer, validation: Split, config: TrialConfig) -> dict[str, Any]:
    """Trains one epoch and measures the network it ends with (`rtune.schema.METRICS`)."""
    start = time.perf_counter()
    trainer.train_epoch()
    trained = time.perf_counter()
    model = trainer.model
    assert isinstance(model, Network)
    with seeded(epoch_seed(trainer.seed, trainer.epoch, "evaluation"), validation.labels.device):
        natural = accuracy(model, validation)
        robust = accuracy(model, validation, build.attack(config.evaluation))
    cost = footprint(model, SOURCES[config.data.dataset].image_shape)
    return {
        "natural_accuracy": natural,
        "robust_accuracy": robust,
        "channel_sparsity": channel_sparsity(model),
        "weight_sparsity": weight_sparsity(model),
        "removable_channels": cost.removable_channels,
        "macs": cost.macs,
        "parameters": cost.parameters,
        "train_seconds": round(trained - start, 4),
        "eval_seconds": round(time.perf_counter() - trained, 4),
    }
