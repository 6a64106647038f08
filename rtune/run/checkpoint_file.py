"""The file of a checkpoint, for those who write it with torch and those who read it without."""

import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError

from rtune.errors import RtuneError
from rtune.storage.places import Place, place

FORMAT = 2
KEPT = 2  # of a trial under way: the newest, and one to fall back on
_FILE = re.compile(r"epoch-(\d+)\.safetensors")
# A folder as a path of this machine, or anywhere.
Where = TypeVar("Where", Path, Place)
T = TypeVar("T")
# Name, data type as torch calls it, shape, and bytes of a tensor.
Part = tuple[str, str, tuple[int, ...], Any]


class CheckpointError(RtuneError):
    """The file is no checkpoint of ours, or damaged; the message says how."""


def read(data: bytes, load: Callable[[bytes], T], parts: Callable[[T], Iterable[Part]]) -> tuple[Any, T]:
    """Header and tensors of a file's content, checked against its digest; nothing is unpickled.

    Args:
        data: the whole file.
        load: safetensors' loader of some library.
        parts: what `digest` is to see of what that gives.

    Raises:
        CheckpointError: the content is foreign, truncated or altered.
    """
    try:
        (length,) = struct.unpack("<Q", data[:8])
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        text = metadata["rtune"]
        header = json.loads(text)
        tensors = load(data)
    except (ValueError, KeyError, TypeError, struct.error, SafetensorError, RecursionError) as error:
        raise CheckpointError(f"is not a readable checkpoint: {error}") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else None
        raise CheckpointError(f"is a checkpoint of format {found}, not {FORMAT}")
    if metadata.get("digest") != digest(text, parts(tensors)):
        raise CheckpointError("is damaged: its content does not match its digest")
    return header, tensors


def digest(text: str, parts: Iterable[Part]) -> str:
    """SHA-256 of a header and its tensors, in whatever order they come."""
    found = hashlib.sha256(text.encode())
    for name, dtype, shape, content in sorted(parts, key=lambda part: part[0]):
        found.update(f"{name} {dtype} {shape}".encode())
        found.update(content)
    return found.hexdigest()


def path_of(folder: Where, epoch: int) -> Where:
    """Where a trial's folder has, or would have, the checkpoint of an epoch."""
    return folder / f"epoch-{epoch:04d}.safetensors"


def epoch_of(name: str) -> int | None:
    """The epoch of a checkpoint's file name; None for other files."""
    found = _FILE.fullmatch(name)
    return int(found[1]) if found else None


def paths(folder: Where) -> list[Where]:
    """Checkpoints of a trial's folder, newest first. Raises StorageError."""
    found = {epoch: name for name in place(folder).files() if (epoch := epoch_of(name)) is not None}
    return [folder / found[epoch] for epoch in sorted(found, reverse=True)]


def drop(folder: Path | Place, kept: int) -> None:
    """Deletes all but the newest `kept` checkpoints of a trial's folder. Raises StorageError."""
    for old in paths(place(folder))[kept:]:
        old.delete()
