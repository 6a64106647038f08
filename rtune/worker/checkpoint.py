"""Checkpoints: one safetensors file per epoch, verified by a digest; pickle is never used.

`trials/ID/epoch-0003.safetensors` contains the sparse network of a trial (`model.*`) and all tensors that are
needed to continue training. The header contains the metrics of all epochs so far.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from rtune.config import saved
from rtune.run import checkpoint_file
from rtune.run.checkpoint_file import FORMAT, KEPT, CheckpointError, Where, drop, path_of, paths
from rtune.storage.places import Place, place


@dataclass(frozen=True)
class Checkpoint:
    """The state of a trial after an epoch.

    Attributes:
        trial: id of the trial.
        config: settings of the trial: a `TrialConfig` as a dict.
        history: the metrics of each epoch, in order.
        tensors: name -> tensor of `Trainer.state_dict`.
        groups: convolution -> its number of groups, see `conv_groups`; empty if it was not saved.
    """

    trial: str
    config: dict[str, Any]
    history: list[dict[str, Any]]
    tensors: dict[str, Tensor]
    groups: dict[str, int] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)


def write(folder: Where, checkpoint: Checkpoint) -> Where:
    """Writes a checkpoint atomically, then deletes all but the newest `KEPT` in the folder.

    Returns:
        The path of the file.

    Raises:
        StorageError: the file cannot be written; earlier checkpoints are unchanged.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}
    header = {
        "format": FORMAT,
        "trial": checkpoint.trial,
        "config": checkpoint.config,
        "history": checkpoint.history,
        "groups": checkpoint.groups,
    }
    text = json.dumps(header, sort_keys=True, allow_nan=False)
    path = path_of(folder, checkpoint.epoch)
    digest = checkpoint_file.digest(text, _parts(tensors))
    place(path).write(save(tensors, {"rtune": text, "digest": digest}))
    drop(folder, KEPT)
    return path


def conv_groups(model: nn.Module) -> dict[str, int]:
    """Number of groups of each convolution; its weight is `model.NAME.weight` in a checkpoint."""
    return {name: m.groups for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}


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
    return Checkpoint(
        header["trial"],
        header["config"],
        header["history"],
        tensors,
        checkpoint_file.groups(header),
    )


def newest(
    folder: Path | Place,
    trial: str,
    config: dict[str, Any],
    unfit: Callable[[Checkpoint], str | None] = lambda checkpoint: None,
) -> tuple[Checkpoint | None, list[str]]:
    """The newest valid checkpoint of a trial with these settings, and why newer ones were skipped.

    Args:
        folder: the folder of the trial.
        trial: id of the trial.
        config: its settings (`Spec.identity`); settings in old formats are converted before the comparison.
        unfit: returns why training cannot continue from the content of an undamaged checkpoint, else None.

    Returns:
        The checkpoint, None if there is no valid one; and a sentence for each newer file that was skipped.

    Raises:
        StorageError: the storage cannot be read; the checkpoints may be valid.
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
            notes.append(f"{path} contains epoch {checkpoint.epoch}")
            continue
        if (reason := unfit(checkpoint)) is not None:
            notes.append(f"training cannot continue from {path}: {reason}")
            continue
        return checkpoint, notes
    return None, notes


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[checkpoint_file.Part]:
    for name, tensor in tensors.items():
        content = tensor.reshape(-1).view(torch.uint8).numpy().data
        yield name, str(tensor.dtype), tuple(tensor.shape), content
