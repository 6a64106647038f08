"""The training loop of one trial: continue from its checkpoint, then train, measure and save each epoch."""

import math
from collections.abc import Iterator
from typing import Any

import torch

from rtune import metrics
from rtune.config import rungs
from rtune.config.sections import trial_config
from rtune.robust import (
    Split,
)
from rtune.run import formats
from rtune.storage import anchor
from rtune.storage.places import Place, place
from rtune.worker import build, checkpoint
from rtune.worker.measures import measure_epoch
from rtune.worker.messages import Note
from rtune.worker.task import Task


def epochs(
    task: Task, train: Split, validation: Split, notes: list[Note] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The epochs that the log lacks, with their metrics; each is saved before it is yielded.

    Epochs that are in the checkpoint but not in the log (the worker or the driver was killed in between) are
    yielded from the checkpoint and not trained again; the driver ignores those that it has in its log.

    Args:
        task: the trial.
        train: training images, on the task's device.
        validation: images for the metrics, on the task's device.
        notes: receives a note for each checkpoint that could not be used.

    Raises:
        StorageError: a checkpoint cannot be read or written.
        Diverged: see `Trainer`.
    """
    notes = [] if notes is None else notes
    with anchor.watched(place(task.run)) as check:
        yield from _epochs(task, train, validation, notes, place(task.folder).with_retries().guarded(check))


def _epochs(
    task: Task, train: Split, validation: Split, notes: list[Note], folder: Place
) -> Iterator[tuple[int, dict[str, Any]]]:
    config = trial_config().model_validate(task.config)
    device = torch.device(task.device)
    trainer = build.trainer(config, train, task.seed)
    if (obstacle := trainer.engine.obstacle) is not None:
        notes.append(Note(f"the GPU trains in plain float32, much slower: {obstacle}", about="gpu"))
    fresh = trainer.state_dict()
    saved, unusable = checkpoint.newest(
        folder, task.trial, task.config, lambda c: _flaw(c, fresh, task.logged)
    )
    used = "the trial begins anew" if saved is None else f"the one of epoch {saved.epoch} is used"
    notes += [Note(f"{reason}; {used}") for reason in unusable]
    history: list[dict[str, Any]] = []
    if saved is not None:
        trainer.load_state_dict({k: v.to(device) for k, v in saved.tensors.items()}, saved.epoch)
        history = formats.history(saved.history, len(validation))
        yield from list(enumerate(history, start=1))[task.logged :]
    groups = checkpoint.conv_groups(trainer.model)
    while trainer.epoch < task.max_epochs:
        step = rungs.stride(trainer.epoch + 1, task.rungs, task.max_epochs)
        part = validation.part(step, config.evaluation.between_rungs == "stratified")
        history = [*history, measure_epoch(trainer, part, config)]
        checkpoint.write(
            folder,
            checkpoint.Checkpoint(task.trial, task.config, history, trainer.state_dict(), groups),
        )
        if trainer.epoch > task.logged:
            yield trainer.epoch, history[-1]


def _flaw(saved: checkpoint.Checkpoint, fresh: dict[str, torch.Tensor], logged: int) -> str | None:
    """What is wrong with a whole checkpoint's content, beside the state of a new trainer; None if nothing.

    The metrics of the first `logged` epochs may be unknown (`formats.checkpoint_header`).
    """
    for number, figures in enumerate(saved.history, start=1):
        # Metrics that are added to rtune, or were once, make no checkpoint unusable.
        if figures == {} and number <= logged:
            continue
        whole = isinstance(figures, dict) and set(metrics.core()) <= set(figures)
        if not whole or not all(isinstance(v, int | float) and math.isfinite(v) for v in figures.values()):
            return f"its figures of epoch {number} are none"
    if saved.tensors.keys() != fresh.keys():
        return "it is of another network"
    for name, tensor in fresh.items():
        if (saved.tensors[name].shape, saved.tensors[name].dtype) != (tensor.shape, tensor.dtype):
            return f"its {name} does not fit the network"
    return None
