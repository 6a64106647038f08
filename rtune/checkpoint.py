"""Checkpoints: one safetensors file an epoch, checked by its digest, never unpickled.

`trials/ID/epoch-0003.safetensors` holds a trial's network (`model.*`, the sparse one) and all that
is needed to train on, with the epoch's metrics in its header.
"""

import hashlib
import json
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

FORMAT = 1
KEPT = 2  # the newest, and one to fall back on


class CheckpointError(Exception):
    """The file is no checkpoint of ours, or damaged; the message says which and how."""


@dataclass(frozen=True)
class Checkpoint:
    """A trial after `epoch` epochs; `metrics` are those of that epoch, `config` the trial's."""

    trial: str
    epoch: int
    config: dict[str, Any]
    metrics: dict[str, Any]
    tensors: dict[str, Tensor]


def write(folder: Path, checkpoint: Checkpoint) -> Path:
    """Saves whole or not at all, then drops all but the newest `KEPT` of the folder."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in checkpoint.tensors.items()}
    header = {
        "format": FORMAT,
        "trial": checkpoint.trial,
        "epoch": checkpoint.epoch,
        "config": checkpoint.config,
        "metrics": checkpoint.metrics,
    }
    text = json.dumps(header, sort_keys=True)
    data = save(tensors, {"rtune": text, "digest": _digest(text, tensors)})
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, checkpoint.epoch)
    temporary = path.with_suffix(".partial")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    for old in paths(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def read(path: Path) -> Checkpoint:
    """Raises CheckpointError if the file is missing, foreign, truncated or altered."""
    try:
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        header = json.loads(metadata["rtune"])
        tensors = load(data)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (OSError, ValueError, KeyError, TypeError, struct.error, SafetensorError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else None
        raise CheckpointError(f"{path} is a checkpoint of format {found}, not {FORMAT}")
    if metadata.get("digest") != _digest(metadata["rtune"], tensors):
        raise CheckpointError(f"{path} is damaged: its content does not match its digest")
    kinds = {"trial": str, "epoch": int, "config": dict, "metrics": dict}
    for name, kind in kinds.items():
        if not isinstance(header.get(name), kind):
            raise CheckpointError(f"{path} is not a readable checkpoint: its {name} is no {kind.__name__}")
    return Checkpoint(header["trial"], header["epoch"], header["config"], header["metrics"], tensors)


def newest(folder: Path, trial: str, config: dict[str, Any]) -> tuple[Checkpoint | None, list[str]]:
    """The newest valid checkpoint of this trial and settings, and why newer ones were passed over."""
    notes = []
    for path in paths(folder):
        try:
            checkpoint = read(path)
        except CheckpointError as error:
            notes.append(str(error))
            continue
        if checkpoint.trial != trial or checkpoint.config != config:
            notes.append(f"{path} belongs to another trial or other settings")
            continue
        return checkpoint, notes
    return None, notes


def path_of(folder: Path, epoch: int) -> Path:
    """Where a trial's folder has, or would have, the checkpoint of an epoch."""
    return folder / f"epoch-{epoch:04d}.safetensors"


def paths(folder: Path) -> list[Path]:
    """Checkpoints of a trial's folder, newest first."""
    found = [p for p in folder.glob("epoch-*.safetensors") if re.fullmatch(r"epoch-\d+", p.stem)]
    return sorted(found, key=lambda p: int(p.stem.removeprefix("epoch-")), reverse=True)


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
