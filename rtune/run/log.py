"""Append-only logs: segments NNNN.jsonl in a folder, one JSON record per line, one writer at a time.

A log stays readable if its writer is killed at any byte: each writer has its own segment, and an incomplete
last line is left out. Reading needs neither Ray nor torch.
"""

import json
import math
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

import orjson

from rtune.run import schema
from rtune.run.formats import Converter
from rtune.storage import paths
from rtune.storage.lock import Lock, LockLost
from rtune.storage.places import LocalPlace, Place, StorageError

# Kinds of records by folder; others are left out.
_KINDS = {
    "results": ("launch", "trial", "epoch", "promote", "lengthen", "retry", "end"),
    "evaluations": ("evaluation", "diagnosis"),
}
# Mappings and lists of a record in addition to the fields of its schema.
_NESTED: dict[str, dict[str, type]] = {
    "launch": {"rungs": list, "search": dict},
    "trial": {"values": dict, "facts": dict},
    "diagnosis": {"figures": dict},
}
_TRIAL = re.compile(r"t\d{4,9}")
_REPLICATE = re.compile(r"(t\d{4,9})r[1-9]\d{0,8}")
_ENDING = ".jsonl"
# Size in bytes from which a new segment starts in a store, where each append rewrites the whole segment.
_SEGMENT = 128 * 1024


@dataclass
class Log:
    """The records of a log, and a note for each line that was left out."""

    records: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(folder: Place, known: dict[str, int], converter: Converter | None = None) -> Log:
    """All records of a folder (`results` or `evaluations`) in the order of writing.

    Args:
        folder: folder of the log; a missing one counts as empty.
        known: trial -> epochs so far, of the trials that records may refer to; the log's trials are added.
        converter: converts records of earlier formats; None for a log of today's.

    Raises:
        StorageError: a segment cannot be read.
    """
    log = Log()
    part = folder.name
    converter = Converter() if converter is None else converter
    names = list(segments(folder))
    for name, data in zip(names, folder.read_all(names), strict=True):
        for number, line in enumerate(data.split(b"\n"), start=1):
            if not line:
                continue
            record = _record(line, part, known, converter)
            if record is None:
                log.notes.append(f"{folder / name}:{number}: left out, the record is incomplete or unknown")
                continue
            log.records.append(record)
            if record["kind"] in ("trial", "epoch"):
                known[record["trial"]] = record.get("epoch", 0)
    return log


class Writer:
    """Appends records to the process's own segment; a context manager.

    On a disk, a record is with the operating system when `append` returns: it survives the end of the
    process, and only a power failure can lose the last records. To a store, records are written in the
    background, in order; the next `append`, or leaving the context, raises an error that occurs.
    """

    def __init__(self, lock: Lock, folder: Place) -> None:
        """Takes over a held lock and releases it at the end. The first record creates the segment."""
        self._lock = lock
        self._folder = folder
        self._segment: _Segment | None = None

    def append(self, record: dict[str, Any]) -> None:
        """Appends a record. Raises StorageError if it or an earlier one cannot be written."""
        line = (json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n").encode()
        self.check()
        if self._segment is None:
            taken = [int(n[:-6]) for n in segments(self._folder) if n[:-6].isdecimal()]
            number = max(taken, default=0) + 1  # also if segments before it have been deleted
            if isinstance(self._folder, LocalPlace):
                self._segment = _FileSegment(self._folder, number)
            else:
                self._segment = _StoreSegments(self._folder.guarded(self._lock.confirm), number)
        self._segment.append(line)

    def check(self) -> None:
        """Raises StorageError if the lock is lost, or the folder is no longer where it was."""
        try:
            self._lock.check()
        except LockLost as error:
            raise _lost(self._folder, error) from None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._segment is not None:
                self._segment.close()
        finally:
            self._lock.release()


class _Segment(Protocol):
    def append(self, line: bytes) -> None: ...

    def close(self) -> None: ...


class _FileSegment:
    def __init__(self, folder: LocalPlace, number: int) -> None:
        self._path: Path = folder.path / f"{number:04d}.jsonl"
        self._torn = False  # after an incomplete record: a further one on the same line would be lost too
        try:
            self._path.parent.mkdir(exist_ok=True)
            self._file: IO[bytes] = open(self._path, "xb", buffering=0)  # noqa: SIM115 - closed by close
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}") from None

    def append(self, line: bytes) -> None:
        if self._torn:
            raise StorageError(f"{self._path}: an earlier record could not be written")
        self._torn = True
        try:
            written = self._file.write(line)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}") from None
        if written != len(line):
            raise StorageError(f"{self._path} cannot be written whole; the disk may be full")
        self._torn = False

    def close(self) -> None:
        try:
            with self._file:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}") from None


class _StoreSegments:
    """Segments in a store: each write replaces the newest by itself and all records since the last write."""

    def __init__(self, folder: Place, number: int) -> None:
        self._folder = folder
        self._number = number
        self._content = b""
        self._waiting: list[bytes] = []
        self._error: StorageError | None = None
        self._closing = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._write_loop, name="rtune-log", daemon=True)
        self._thread.start()

    def append(self, line: bytes) -> None:
        with self._change:
            if self._error is not None:
                raise self._error
            self._waiting.append(line)
            self._change.notify()

    def close(self) -> None:
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _write_loop(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._closing)
                lines, self._waiting = self._waiting, []
            if not lines:
                return
            try:
                self._write(b"".join(lines))
                continue
            except StorageError as error:
                found = error
            except LockLost as error:
                found = _lost(self._folder, error)
            except Exception as error:  # any error: records must not be lost silently
                found = StorageError(f"{self._folder} cannot be written: {type(error).__name__}: {error}")
            with self._change:
                self._error = found
            return

    def _write(self, data: bytes) -> None:
        if len(self._content) > _SEGMENT:
            self._number += 1
            self._content = b""
        content = self._content + data
        (self._folder / f"{self._number:04d}.jsonl").write(content)
        self._content = content


def _lost(folder: Place, error: LockLost) -> StorageError:
    return StorageError(f"{folder} can no longer be written by this process: {error}")


def segments(folder: Place) -> dict[str, int]:
    """Names and sizes in bytes of a log's segments, in order.

    Raises:
        StorageError: the folder cannot be read, it is a file, or a folder has the name of a segment.
    """
    found = folder.files()
    if not found and folder.local is not None and paths.is_file(folder.local):
        raise StorageError(f"{folder} cannot be read: it is not a folder")
    for name in found:
        first, below, _ = name.partition("/")
        if below and first.endswith(_ENDING):
            raise StorageError(f"{folder / first} cannot be read: it is not a regular file")
    return {name: size for name, size in found.items() if name.endswith(_ENDING) and "/" not in name}


def _record(line: bytes, part: str, known: dict[str, int], converter: Converter) -> dict[str, Any] | None:
    """The record of a line; None if its kind, a field, or its relation to `known` is not valid."""
    try:
        record: dict[str, Any] = orjson.loads(line)  # rejects NaN and incomplete characters
        kind = record["kind"]
        if kind not in _KINDS[part]:
            return None
        record = converter(record, known)
        nested = _NESTED.get(kind, {})
        whole = all(isinstance(record[n], type_) for n, type_ in nested.items())
    except (ValueError, TypeError, KeyError):
        return None
    if not whole:
        return None
    if not schema.fits(record, schema.RECORDS[kind]):
        return None
    if kind == "epoch" and not schema.fits(dict.fromkeys(schema.RUNG.names) | record, schema.RUNG):
        return None
    if not _are_plain([value for name, value in record.items() if name not in nested]):
        return None
    if kind == "trial":
        return record if _begins(record, known) else None
    if kind != "launch" and record["trial"] not in known:
        return None
    # After a lost epoch, a trial's later epochs are left out too: its checkpoint has the records of all.
    if kind == "epoch" and record["epoch"] != known[record["trial"]] + 1:
        return None
    if kind == "lengthen" and not _REPLICATE.fullmatch(record["trial"]):
        return None
    return record


def _begins(record: dict[str, Any], known: dict[str, int]) -> bool:
    """Whether a `trial` record is valid: its id is new, and a replicate comes after its original."""
    name, facts = record["trial"], record["facts"]
    if name in known or not _are_plain(record["values"].values()):
        return False
    if record["sampler"] != schema.REPLICATE:
        return _TRIAL.fullmatch(name) is not None
    found = _REPLICATE.fullmatch(name)
    whole = schema.fits(facts, schema.REPLICATE_FACTS)
    return found is not None and whole and facts["of"] == found[1] and found[1] in known


def _are_plain(values: Iterable[Any]) -> bool:
    """Whether each value fits a cell of a table: null, text, finite number or list of texts."""
    for value in values:
        if value is None or isinstance(value, str):  # the most frequent case
            continue
        if isinstance(value, float):
            if not math.isfinite(value):
                return False
        elif isinstance(value, int):
            if abs(value) >= 2**63:
                return False
        elif not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            return False
    return True
