"""The run folder: what a search leaves behind, and all that is needed to go on with it.

    search.yaml      the resolved search file, versions, seed; written once
    results/NNNN.jsonl   append-only log, a segment a launch, a JSON record a line
    trials/ID/       checkpoints
    evaluations/NNNN.jsonl   what `rtune evaluate` found; no search ever reads it
    report/          what `rtune report` makes
    launch.log       the framework's own words

The log is the truth: killed at any byte it stays readable, because a launch never writes to
another's segment and a torn last line is left out. Reading needs neither Ray nor torch.
"""

import fcntl
import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml

from rtune import schema, spec, yamlfile

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

# What a record must have to be taken in (docs/run-folder.md).
_FIELDS = {
    "launch": {"time", "trials", "concurrency"},
    "trial": {"time", "trial", "seed", "values", "sampler", "facts"},
    "epoch": {"time", "trial", "epoch", "decision", *schema.METRICS},
    "promote": {"time", "trial", "rung", "rung_position", "rung_size", "rung_quota"},
    "end": {"time", "trial", "status", "epoch", "error"},
    "evaluation": set(schema.EVALUATIONS.names),
    "diagnosis": {*schema.DIAGNOSES.names, "figures"},
}
# Which kinds stand where; what stands elsewhere is foreign.
_KINDS = {
    "results": ("launch", "trial", "epoch", "promote", "end"),
    "evaluations": ("evaluation", "diagnosis"),
}
# Kinds that speak of a trial begun before.
_OF_TRIALS = ("epoch", "promote", "end", "evaluation", "diagnosis")
_TYPES = {"evaluation": schema.EVALUATIONS, "diagnosis": schema.DIAGNOSES}


class RunError(Exception):
    """The run folder cannot be made, read or used; the message says why."""


class LaunchError(Exception):
    """A launch broke; what it did so far is saved."""


@dataclass
class Log:
    """Records read back, and a note for each line that had to be left out."""

    records: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class RunFolder:
    """A run folder that exists. `create` makes one."""

    def __init__(self, path: Path) -> None:
        """Raises RunError unless `path` holds a readable search.yaml."""
        self.path = path
        file = path / "search.yaml"
        if not file.is_file():
            what = "has no search.yaml" if path.is_dir() else "does not exist"
            raise RunError(f"{path} is not a run folder: it {what}")
        try:
            tree, origins = yamlfile.read(file)
            self.spec = spec.from_tree(tree, origins, str(file))
        except (yamlfile.YamlError, spec.SpecError) as error:
            raise RunError(f"{path} is not a usable run folder: {error}") from None
        version = (tree.get("provenance") or {}).get("schema")
        if version != schema.VERSION:
            raise RunError(f"{path} has results of schema {version}; this rtune reads {schema.VERSION}")

    @classmethod
    def create(cls, runs: Path, name: str, search: spec.Spec, provenance: dict[str, Any]) -> "RunFolder":
        """Makes `runs/name`, or raises RunError and leaves nothing behind."""
        path = available(runs, name)
        tree = search.to_tree() | {"provenance": provenance | {"schema": schema.VERSION}}
        temporary = runs / f".{name}.new"
        try:
            (temporary / "results").mkdir(parents=True, exist_ok=True)
            (temporary / "trials").mkdir(exist_ok=True)
            (temporary / "search.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
            os.rename(temporary, path)
        except OSError as error:
            raise RunError(f"run folder {path} cannot be made: {error}") from None
        return cls(path)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def trial_folder(self, trial: str) -> Path:
        return self.path / "trials" / trial

    def read(self) -> Log:
        """All records of the search in the order they were written."""
        return self._read("results", set())

    def read_evaluations(self) -> Log:
        """All records of `rtune evaluate`, of trials that the search knows."""
        trials = {record["trial"] for record in self.read().records if record["kind"] == "trial"}
        return self._read("evaluations", trials)

    def _read(self, part: str, known: set[str]) -> Log:
        log = Log()
        for segment in self._segments(part):
            for number, line in enumerate(segment.read_bytes().split(b"\n"), start=1):
                if not line:
                    continue
                record = _record(line, part, known)
                if record is None:
                    log.notes.append(f"{segment}:{number}: left out, the record is torn or foreign")
                    continue
                log.records.append(record)
                if record["kind"] == "trial":
                    known.add(record["trial"])
        return log

    def is_live(self) -> bool:
        """Whether a launch on this machine is writing to the run."""
        try:
            with _Lock(self.path):
                return False
        except RunError:
            return True

    def launch(self) -> "Writer":
        """The only writer of the search; use it as a context. Raises RunError if there is one."""
        return Writer(_Lock(self.path), self.path / "results")

    def evaluation(self) -> "Writer":
        """The only writer of evaluations; likewise."""
        part = self.path / "evaluations"
        try:
            part.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"{part} cannot be made: {error}") from None
        lock = _Lock(part, "another rtune evaluate is running on it")
        return Writer(lock, part)

    def _segments(self, part: str) -> list[Path]:
        return _segments(self.path / part)


class Writer:
    """Appends records to a process's own segment, whole lines, flushed to the system at once.

    The segment is made by the first record. A record survives the death of the process; only a power
    cut can lose the last moments.
    """

    def __init__(self, lock: "_Lock", part: Path) -> None:
        """Raises RunError if there is a writer already, or the folder takes no files."""
        self._lock = lock
        self._lock.__enter__()
        self._torn = False  # a record after a torn one would be lost with it
        self._path = part / f"{_next_number(part):04d}.jsonl"
        self._file: IO[bytes] | None = None
        if not os.access(part, os.W_OK):
            self._lock.__exit__(None, None, None)
            raise RunError(f"{self._path} cannot be written: no permission")

    def append(self, record: dict[str, Any]) -> None:
        """Raises OSError if the record cannot be written whole; from then on nothing is written."""
        line = (json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n").encode()
        if self._torn:
            raise OSError("an earlier record could not be written")
        self._torn = True
        if self._file is None:
            self._file = open(self._path, "xb", buffering=0)  # noqa: SIM115 - closed by __exit__
        if self._file.write(line) != len(line):
            raise OSError("the record could not be written whole; the disk may be full")
        self._torn = False

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
        self._lock.__exit__(kind, error, trace)


def _segments(part: Path) -> list[Path]:
    return sorted(path for path in part.glob("*.jsonl") if path.is_file())


def _next_number(part: Path) -> int:
    """One more than the highest number taken, whatever has been deleted in between."""
    return max((int(p.stem) for p in part.glob("*.jsonl") if p.stem.isdecimal()), default=0) + 1


def _record(line: bytes, part: str, known: set[str]) -> dict[str, Any] | None:
    """A line's record; None if it is none of its part's, lacks a field, or its trial is not `known`."""
    try:
        record: dict[str, Any] = json.loads(line)
        whole = record["kind"] in _KINDS[part] and _FIELDS[record["kind"]] <= set(record)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not whole or not schema.fits(record, _TYPES.get(record["kind"], ())):
        return None
    if record["kind"] == "launch":
        return record
    trial = record["trial"]
    fits = isinstance(trial, str) and (record["kind"] not in _OF_TRIALS or trial in known)
    return record if fits else None


def available(runs: Path, name: str) -> Path:
    """The path of a new run. Raises RunError if the name is taken or cannot be a folder's."""
    if not _NAME.fullmatch(name):
        raise RunError(
            f"run name {name!r} must be letters, digits, '.', '_' and '-', "
            "a letter or digit first, 100 at most"
        )
    path = runs / name
    if path.exists():
        raise RunError(
            f"run name {name!r} is taken: {path} exists; choose another --name, "
            f"or go on with 'rtune resume {path}'"
        )
    return path


def find(run: str, runs: Path = Path("runs")) -> RunFolder:
    """The run folder at a path, or of that name in `runs`. Raises RunError."""
    path = Path(run)
    if len(run) > 1000 or max(map(len, path.parts), default=0) > 255:
        raise RunError(f"{run[:40]}... is not a run folder: no folder has so long a name")
    if not path.exists() and _NAME.fullmatch(run) and (runs / run).exists():
        path = runs / run
    return RunFolder(path)


class _Lock:
    """An advisory lock that dies with its process, so that it is never stale."""

    def __init__(self, path: Path, whose: str = "a launch is running on it") -> None:
        self._path = path
        self._whose = whose

    def __enter__(self) -> None:
        # The folder itself is locked: a reader leaves no file behind, and needs no right to write.
        self._descriptor = os.open(self._path, os.O_RDONLY)
        for patience in (0.1, 0.4, 0.0):  # another's `is_live` holds it for a moment
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(patience)
        os.close(self._descriptor)
        raise RunError(f"{self._path} is in use: {self._whose}")

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
