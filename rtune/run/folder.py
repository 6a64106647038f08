"""The run folder: what a search leaves behind, and all that is needed to go on with it.

    search.yaml      the resolved search file, versions, seed; written once
    results/NNNN.jsonl   append-only log, a segment a launch, a JSON record a line
    trials/ID/       checkpoints
    evaluations/NNNN.jsonl   what `rtune evaluate` found; no search ever reads it
    report/          what `rtune report` makes
    launch.log       the framework's own words

The log is the truth. Reading needs neither Ray nor torch.
"""

import contextlib
import copy
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from rtune.config import saved, spec, yaml_file
from rtune.errors import RunError, SpecError
from rtune.run import log, schema
from rtune.run.log import Log, Writer
from rtune.storage import lock
from rtune.storage.places import LocalPlace, Place, StorageError, place

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RunFolder:
    """A run folder that exists. `create` makes one."""

    def __init__(self, where: str | Path | Place) -> None:
        """Raises RunError unless there is a readable search.yaml."""
        with storage_errors():
            self.place = place(where)
            file = self.place / "search.yaml"
            try:
                self.text = file.read().decode()
            except FileNotFoundError:
                there = self.place.files() or (self.place.local and self.place.exists())
                what = "has no search.yaml" if there else "does not exist"
                raise RunError(f"{self.place} is not a run folder: it {what}") from None
            except UnicodeDecodeError as error:
                raise RunError(f"{self.place} is not a usable run folder: {file}: {error}") from None
        try:
            tree, origins = yaml_file.parse(self.text, str(file))
            saved.fill_search_file(tree)
            self.spec = spec.from_tree(tree, origins, str(file))
        except (yaml_file.YamlError, SpecError) as error:
            raise RunError(f"{self.place} is not a usable run folder: {error}") from None
        version = (tree.get("provenance") or {}).get("schema")
        if version != schema.VERSION:
            raise RunError(f"{self.place} has results of schema {version}; this rtune reads {schema.VERSION}")

    @classmethod
    def create(
        cls, runs: str | Path | Place, name: str, search: spec.Spec, provenance: dict[str, Any]
    ) -> "RunFolder":
        """Makes the run `name` in the folder `runs`, or raises RunError and leaves nothing behind."""
        target = new_run(runs, name)
        tree = search.to_tree() | {"provenance": provenance | {"schema": schema.VERSION}}
        text = yaml.safe_dump(tree, sort_keys=False).encode()
        with storage_errors(f"run folder {target} cannot be made"):
            if isinstance(target, LocalPlace):
                _make(target.path, text)
            else:
                (target / "search.yaml").write(text)
        return cls(target)

    @property
    def name(self) -> str:
        return self.place.name

    def resume_command(self, address: str | None = None) -> str:
        """What a person types to go on, on the cluster at `address`."""
        return self.command("resume", {"--address": address})

    def command(self, name: str, options: Mapping[str, object]) -> str:
        """What a person types for `rtune NAME` on this run; options that are None are left out."""
        given = [word for key, value in options.items() if value is not None for word in (key, str(value))]
        return shlex.join(["rtune", name, str(self.place), *given])

    def patient(self, on_wait: Callable[[str], None]) -> "RunFolder":
        """The same folder, for a launch: a store that does not answer is waited for (`Place.patient`)."""
        found = copy.copy(self)
        found.place = self.place.patient(on_wait)
        return found

    def trial_folder(self, trial: str) -> Place:
        return self.place / "trials" / trial

    def read(self) -> Log:
        """All records of the search in the order they were written. Raises RunError."""
        with storage_errors():
            return log.read(self.place / "results", {})

    def read_evaluations(self, known: Iterable[str] | None = None) -> Log:
        """All records of `rtune evaluate`, of trials that the search knows.

        Args:
            known: those trials; read from the log when None.

        Raises:
            RunError: it cannot be read.
        """
        if known is None:
            known = (record["trial"] for record in self.read().records if record["kind"] == "trial")
        trials = dict.fromkeys(known, 0)
        with storage_errors():
            return log.read(self.place / "evaluations", trials)

    def is_live(self) -> bool:
        """Whether a launch is writing to the run."""
        with storage_errors():
            return lock.is_held(self.place)

    def launch(self) -> Writer:
        """The only writer of the search; use it as a context. Raises RunError if there is one."""
        return self._writer(self.place, "results", "a launch is running on it")

    def evaluation(self) -> Writer:
        """The only writer of evaluations; likewise."""
        part = self.place / "evaluations"
        if isinstance(part, LocalPlace):
            try:
                part.path.mkdir(exist_ok=True)
            except OSError as error:
                raise RunError(f"{part} cannot be made: {error}") from None
        return self._writer(part, "", "another rtune evaluate is running on it")

    def _writer(self, locked: Place, part: str, whose: str) -> Writer:
        with storage_errors():
            try:
                return Writer(lock.take(locked), locked / part if part else locked)
            except lock.InUseError as error:
                raise RunError(f"{locked} is in use: {whose} ({error})") from None


@contextlib.contextmanager
def storage_errors(what: str | None = None, kind: type[RunError] = RunError) -> Iterator[None]:
    """Context that turns what storage and files raise into an error of ours, `what` before its words."""
    try:
        yield
    except (StorageError, OSError) as error:
        raise kind(f"{what}: {error}" if what else str(error)) from None


def _make(path: Path, text: bytes) -> None:
    """A new local run folder; nothing of it is seen before all of it is there."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        (temporary / "results").mkdir(parents=True, exist_ok=True)
        (temporary / "trials").mkdir(exist_ok=True)
        (temporary / "search.yaml").write_bytes(text)
        os.rename(temporary, path)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def new_run(runs: str | Path | Place, name: str) -> Place:
    """The place of a new run. Raises RunError if the name is taken or cannot be a folder's."""
    if not _NAME.fullmatch(name):
        raise RunError(
            f"run name {name!r} must be letters, digits, '.', '_' and '-', "
            "a letter or digit first, 100 at most"
        )
    with storage_errors():
        target = place(runs) / name
        if target.exists() if target.local else bool(target.files()):
            raise RunError(
                f"run name {name!r} is taken: {target} exists; choose another --name, "
                f"or go on with: rtune resume {shlex.quote(str(target))}"
            )
    return target


def find_run(run: str, runs: str = "runs") -> RunFolder:
    """The run folder at a path or URI, or of that name in `runs`. Raises RunError."""
    if "://" in run:
        return RunFolder(run)
    path = Path(run)
    if len(run) > 1000 or max(map(len, path.parts), default=0) > 255:
        raise RunError(f"{run[:40]}... is not a run folder: no folder has so long a name")
    if not path.exists() and _NAME.fullmatch(run):
        with storage_errors():
            named = place(runs) / run
            if (named / "search.yaml").exists() or (named.local and named.exists()):
                return RunFolder(named)
    return RunFolder(path)
