"""The checkpoint file format, independent of torch: names, header and digest of safetensors files."""

import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError

from rtune.errors import RtuneError
from rtune.run import formats
from rtune.storage.places import Place, place

FORMAT = 2
KEPT = 2  # checkpoints of a running trial: the newest, and one in case that is damaged
_FILE = re.compile(r"epoch-(\d+)\.safetensors")
# A folder on this machine, or any place.
Where = TypeVar("Where", Path, Place)
T = TypeVar("T")
# Name, torch data type, shape, and bytes of a tensor.
Part = tuple[str, str, tuple[int, ...], Any]


class CheckpointError(RtuneError):
    """The file is not an rtune checkpoint, or it is damaged; the message gives the reason."""


def read(data: bytes, load: Callable[[bytes], T], parts: Callable[[T], Iterable[Part]]) -> tuple[Any, T]:
    """Header, as of today's format, and tensors of a checkpoint, checked against its digest.

    Nothing is unpickled.

    Args:
        data: the content of the file.
        load: the safetensors loader of some library.
        parts: the tensors of the loader's result, as `digest` takes them.

    Raises:
        CheckpointError: the content is not a checkpoint, of an unknown format, truncated or altered.
    """
    try:
        (length,) = struct.unpack("<Q", data[:8])
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        text = metadata["rtune"]
        header = json.loads(text)
        tensors = load(data)
    except (ValueError, KeyError, TypeError, struct.error, SafetensorError, RecursionError) as error:
        raise CheckpointError(f"is not a readable checkpoint: {error}") from None
    found = header.get("format") if isinstance(header, dict) else None
    if type(found) is not int or not formats.OLDEST <= found <= FORMAT:
        raise CheckpointError(
            f"is a checkpoint of format {found}; this rtune reads {formats.OLDEST} to {FORMAT}"
        )
    if metadata.get("digest") != digest(text, parts(tensors)):
        raise CheckpointError("is damaged: its content does not match its digest")
    if found == 1:
        try:
            header = formats.checkpoint_header(header)
        except ValueError as error:
            raise CheckpointError(f"is not a readable checkpoint: {error}") from None
    return header, tensors


def groups(header: dict[str, Any]) -> dict[str, int]:
    """Convolution -> its number of groups; empty for checkpoints of versions that did not save it."""
    found = header.get("groups")
    if not isinstance(found, dict):
        return {}
    return {name: n for name, n in found.items() if isinstance(n, int) and n >= 1}


def digest(text: str, parts: Iterable[Part]) -> str:
    """SHA-256 of a header and its tensors, as hexadecimal digits; independent of the order of the tensors."""
    found = hashlib.sha256(text.encode())
    for name, dtype, shape, content in sorted(parts, key=lambda part: part[0]):
        found.update(f"{name} {dtype} {shape}".encode())
        found.update(content)
    return found.hexdigest()


def path_of(folder: Where, epoch: int) -> Where:
    """Path of the checkpoint of an epoch in a trial's folder, whether it exists or not."""
    return folder / f"epoch-{epoch:04d}.safetensors"


def epoch_of(name: str) -> int | None:
    """Epoch in a checkpoint's file name; None for other files."""
    found = _FILE.fullmatch(name)
    return int(found[1]) if found else None


def paths(folder: Where) -> list[Where]:
    """Paths of the checkpoints in a trial's folder, newest first. Raises StorageError."""
    found = {epoch: name for name in place(folder).files() if (epoch := epoch_of(name)) is not None}
    return [folder / found[epoch] for epoch in sorted(found, reverse=True)]


def drop(folder: Path | Place, kept: int) -> None:
    """Deletes all but the newest `kept` checkpoints of a trial's folder. Raises StorageError."""
    for old in paths(place(folder))[kept:]:
        old.delete()
