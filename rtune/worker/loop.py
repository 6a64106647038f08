"""One trial on one worker: continue from its checkpoint, train, evaluate, save, report."""

import math
import socket
from collections.abc import Iterator
from typing import Any

import ray
import torch
from ray import tune

from rtune import metrics
from rtune.config import rungs
from rtune.config.sections import trial_config
from rtune.robust import (
    Diverged,
    Split,
)
from rtune.robust.random import deterministic
from rtune.storage.places import StorageError, place
from rtune.worker import build, checkpoint, gpu_host, machine, measures


def run(task: dict[str, Any], data: dict[str, Any]) -> None:
    """The function Ray Tune calls.

    Args:
        task: `trial`, `seed`, `config` (a TrialConfig as a dict), `folder` (the trial's: a path or URI),
            `logged` (epochs already in the run's log), `rungs` (their epochs), `max_epochs` (where the trial
            ends), `threads`, `device`, `shares_gpu` (with other trials), `versions` (that this machine must
            have; None for any), and with versions `run` (the run folder, likewise a path or URI).
        data: the splits, from `rtune.worker.build.pack`.

    Raises:
        Unfit: this machine has other versions or another disk, or its storage fails.
    """
    torch.set_num_threads(task["threads"])
    if task["versions"] is not None and (lack := machine.lack(task["versions"]) or _other_disk(task["run"])):
        raise machine.Unfit(f"{_node()}: {lack}")
    try:
        for report in _reports(task, data):
            tune.report(report)
    except Diverged as error:
        tune.report({"diverged": str(error)})
    except StorageError as error:
        # Not the trial's fault, and the next would fare no better.
        raise machine.Unfit(f"{_node()}: {error} (worker on {socket.gethostname()})") from None


def _reports(task: dict[str, Any], data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What Ray Tune is to be told, an epoch at a time."""
    if task["shares_gpu"]:
        yield from gpu_host.epochs(task, data)
        return
    # Around the trial, not the worker: Ray uses it again for the next one.
    with deterministic(task["config"]["training"]["deterministic"]):
        notes: list[str] = []
        for epoch, metrics in epochs(task, *build.unpack(data, torch.device(task["device"])), notes):
            yield {"epoch": epoch, **metrics, "notes": notes.copy()}
            notes.clear()


def _other_disk(run: str) -> str | None:
    """A sentence if this machine does not see the run folder; None if it does."""
    # Made on this machine alone, checkpoints would be lost with it.
    try:
        seen = (place(run) / "search.yaml").patient().exists()
    except StorageError as error:
        return str(error)
    return None if seen else machine.not_shared(run)


def _node() -> str:
    return str(ray.get_runtime_context().get_node_id())


def epochs(
    task: dict[str, Any], train: Split, validation: Split, notes: list[str] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The epochs that the log lacks, with their metrics; each is saved before it is yielded.

    Epochs that were saved but never logged (the worker or the driver died in between) are yielded
    from the checkpoint, not trained again; the driver passes over what it knows.

    Args:
        task: see `run`.
        train: images that it trains on, on the task's device.
        validation: images that it is measured on, likewise.
        notes: gets a sentence for each checkpoint that was passed over.

    Raises:
        StorageError: a checkpoint cannot be read or written.
        Diverged: see `Trainer`.
    """
    config = trial_config().model_validate(task["config"])
    folder = place(task["folder"]).patient()
    device = torch.device(task["device"])
    trainer = build.trainer(config, train, task["seed"])
    if notes is not None and (obstacle := trainer.engine.obstacle) is not None:
        notes.append(f"{gpu_host.THE_GPU} trains in plain float32, much slower: {obstacle}")
    fresh = trainer.state_dict()
    saved, passed = checkpoint.newest(folder, task["trial"], task["config"], lambda c: _flaw(c, fresh))
    use = "the trial begins anew" if saved is None else f"the one of epoch {saved.epoch} is used"
    if notes is not None:
        notes += [f"{note}; {use}" for note in passed]
    history: list[dict[str, Any]] = []
    if saved is not None:
        trainer.load_state_dict({k: v.to(device) for k, v in saved.tensors.items()}, saved.epoch)
        history = saved.history
        yield from list(enumerate(history, start=1))[task["logged"] :]
    while trainer.epoch < task["max_epochs"]:
        step = rungs.stride(trainer.epoch + 1, task["rungs"], task["max_epochs"])
        history = [*history, measures.measure_epoch(trainer, validation.every(step), config)]
        checkpoint.write(
            folder,
            checkpoint.Checkpoint(task["trial"], task["config"], history, trainer.state_dict()),
        )
        if trainer.epoch > task["logged"]:
            yield trainer.epoch, history[-1]


def _flaw(saved: checkpoint.Checkpoint, fresh: dict[str, torch.Tensor]) -> str | None:
    """What is wrong with a whole checkpoint's content, beside the state of a new trainer; None if nothing."""
    for number, figures in enumerate(saved.history, start=1):
        # Metrics that are added to rtune, or were once, make no checkpoint unusable.
        whole = isinstance(figures, dict) and {*metrics.core(), "images"} <= set(figures)
        if not whole or not all(isinstance(v, int | float) and math.isfinite(v) for v in figures.values()):
            return f"its figures of epoch {number} are none"
    if saved.tensors.keys() != fresh.keys():
        return "it is of another network"
    for name, tensor in fresh.items():
        if (saved.tensors[name].shape, saved.tensors[name].dtype) != (tensor.shape, tensor.dtype):
            return f"its {name} does not fit the network"
    return None
