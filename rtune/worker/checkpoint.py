"""Checkpoints: one safetensors file per epoch, verified by its digest, never unpickled.

`trials/ID/epoch-0003.safetensors` contains a trial's network (`model.*`, the sparse one) and everything that
is needed to continue training. Its header has the metrics of each epoch so far.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from rtune.config import saved
from rtune.run import checkpoint_file
from rtune.run.checkpoint_file import FORMAT, KEPT, CheckpointError, Where, drop, path_of, paths
from rtune.storage.places import Place, place


@dataclass(frozen=True)
class Checkpoint:
    """A trial after some epochs.

    Attributes:
        trial: the trial's id.
        config: the trial's settings: a `TrialConfig` as a dict.
        history: the metrics of each epoch, the first epoch first.
        tensors: name -> tensor of `Trainer.state_dict`.
    """

    trial: str
    config: dict[str, Any]
    history: list[dict[str, Any]]
    tensors: dict[str, Tensor]

    @property
    def epoch(self) -> int:
        return len(self.history)


def write(folder: Where, checkpoint: Checkpoint) -> Where:
    """Writes a checkpoint atomically, then deletes all but the newest `KEPT` of the folder.

    Returns:
        Where it was written.

    Raises:
        StorageError: it cannot be written; earlier checkpoints are unchanged.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}
    header = {
        "format": FORMAT,
        "trial": checkpoint.trial,
        "config": checkpoint.config,
        "history": checkpoint.history,
    }
    text = json.dumps(header, sort_keys=True, allow_nan=False)
    path = path_of(folder, checkpoint.epoch)
    digest = checkpoint_file.digest(text, _parts(tensors))
    place(path).write(save(tensors, {"rtune": text, "digest": digest}))
    drop(folder, KEPT)
    return path


def read(path: Path | Place) -> Checkpoint:
    """Reads and verifies a checkpoint.

    Raises:
        CheckpointError: the file is missing, of another format, truncated or altered.
        StorageError: the storage cannot be read.
    """
    try:
        data = place(path).read()
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    try:
        header, tensors = checkpoint_file.read(data, load, _parts)
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from None
    kinds = {"trial": str, "config": dict, "history": list}
    for name, kind in kinds.items():
        if not isinstance(header.get(name), kind):
            raise CheckpointError(f"{path} is not a readable checkpoint: its {name} is no {kind.__name__}")
    return Checkpoint(header["trial"], header["config"], header["history"], tensors)


def newest(
    folder: Path | Place,
    trial: str,
    config: dict[str, Any],
    unfit: Callable[[Checkpoint], str | None] = lambda checkpoint: None,
) -> tuple[Checkpoint | None, list[str]]:
    """The newest valid checkpoint of this trial and settings, and why newer ones were passed over.

    Args:
        folder: the trial's.
        trial: its id.
        config: its settings (`Spec.identity`); older checkpoints are read through today's models.
        unfit: says what is wrong with the content of one that is whole; None if nothing is.

    Raises:
        StorageError: the store does not give them; they may be sound.
    """
    notes = []
    for path in paths(place(folder)):
        try:
            checkpoint = read(path)
        except CheckpointError as error:
            notes.append(str(error))
            continue
        if checkpoint.trial != trial or not saved.are_same(checkpoint.config, config):
            notes.append(f"{path} belongs to another trial or other settings")
            continue
        if path.name != path_of(place(folder), checkpoint.epoch).name:
            notes.append(f"{path} is of epoch {checkpoint.epoch}")
            continue
        if (reason := unfit(checkpoint)) is not None:
            notes.append(f"{path} cannot be gone on from: {reason}")
            continue
        return checkpoint, notes
    return None, notes


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[checkpoint_file.Part]:
    for name, tensor in tensors.items():
        content = tensor.reshape(-1).view(torch.uint8).numpy().data
        yield name, str(tensor.dtype), tuple(tensor.shape), content
