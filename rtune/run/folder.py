"""The run folder: all results of a search, and everything needed to resume it.

    search.yaml      the resolved search file, versions, seed; written once
    results/NNNN.jsonl   append-only log: one segment per launch, one JSON record per line
    trials/ID/       checkpoints
    evaluations/NNNN.jsonl   results of `rtune evaluate`; the search does not read them
    report/          output of `rtune report`
    launch.log       output of Ray

All state is derived from the log. Reading needs neither Ray nor torch.
"""

import contextlib
import copy
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from rtune.config import saved, spec, yaml_file
from rtune.errors import RunError, SpecError
from rtune.run import formats, log, schema
from rtune.run.log import Log, Writer
from rtune.storage import lock, paths
from rtune.storage.home import expand
from rtune.storage.places import LocalPlace, Place, StorageError, place

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RunFolder:
    """An existing run folder; `rtune.run.claim` makes a new one."""

    def __init__(self, where: str | Path | Place) -> None:
        """Reads search.yaml. Raises RunError if it is missing, not valid, or of an unknown schema version."""
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
            provenance = tree.get("provenance")
            version = provenance.get("schema") if isinstance(provenance, dict) else None
            if version is not None:  # before the fields: another schema may have others
                self._check_version(version)
            self._rounds_up = formats.rounds_up(tree, version)
            tree = formats.search_file(tree, version)
            saved.fill_search_file(tree)
            self.spec = spec.from_tree(tree, origins, str(file))
        except (yaml_file.YamlError, SpecError) as error:
            raise RunError(f"{self.place} is not a usable run folder: {error}") from None
        self._version = self._check_version(version)

    def _check_version(self, version: object) -> int:
        """The schema version of the run. Raises RunError if this version of rtune cannot read it."""
        if not isinstance(version, int) or not formats.is_known(version):
            raise RunError(
                f"{self.place} has results of schema {version}; "
                f"this rtune reads {formats.OLDEST} to {schema.VERSION}"
            )
        return version

    @property
    def name(self) -> str:
        return self.place.name

    def resume_command(self, address: str | None = None) -> str:
        """The command line that resumes the run, on the cluster at `address`."""
        return self.command("resume", {"--address": address})

    def command(self, name: str, options: Mapping[str, object]) -> str:
        """The command line of `rtune NAME` for this run; options that are None are left out."""
        given = [word for key, value in options.items() if value is not None for word in (key, str(value))]
        return shlex.join(["rtune", name, str(self.place), *given])

    def with_retries(self, on_wait: Callable[[str], None]) -> "RunFolder":
        """The same folder with longer retries, for launches; arguments as of `Place.with_retries`."""
        found = copy.copy(self)
        found.place = self.place.with_retries(on_wait)
        return found

    def trial_folder(self, trial: str) -> Place:
        """The folder of a trial's checkpoints."""
        return self.place / "trials" / trial

    def read(self) -> Log:
        """All records of the search in the order of writing. Raises RunError."""
        with storage_errors():
            return log.read(self.place / "results", {}, self.converter())

    def read_evaluations(self, known: Iterable[str] | None = None) -> Log:
        """All records of `rtune evaluate` whose trials are in the search's log.

        Args:
            known: ids of those trials; None to read them from the log.

        Raises:
            RunError: a log cannot be read.
        """
        if known is None:
            known = (record["trial"] for record in self.read().records if record["kind"] == "trial")
        trials = dict.fromkeys(known, 0)
        with storage_errors():
            return log.read(self.place / "evaluations", trials, self.converter())

    def converter(self) -> formats.Converter:
        """A converter of the records of the run's format, for reading a log once from its start."""
        return formats.Converter(self._version, self.spec, self._rounds_up)

    def is_live(self) -> bool:
        """Whether a launch holds the lock of the run. Raises RunError."""
        with storage_errors():
            return lock.is_held(self.place)

    def launch(self) -> Writer:
        """The writer of the search's log, a context manager. Raises RunError if the lock is taken."""
        return self._writer(self.place, "results", "a launch is running on it")

    def evaluation(self) -> Writer:
        """The writer of the evaluations' log, a context manager. Raises RunError likewise."""
        part = self.place / "evaluations"
        if isinstance(part, LocalPlace):
            with storage_errors(), paths.path_errors(part.path, "made", missing=True):
                paths.make_folder(part.path)
        return self._writer(part, "", "another rtune evaluate is running on it")

    def _writer(self, locked: Place, part: str, whose: str) -> Writer:
        with storage_errors():
            try:
                return Writer(lock.take(locked), locked / part if part else locked)
            except lock.InUseError as error:
                raise RunError(f"{locked} is in use: {whose} ({error})") from None


@contextlib.contextmanager
def storage_errors(what: str | None = None, kind: type[RunError] = RunError) -> Iterator[None]:
    """Context that turns StorageError and OSError into the error `kind`, with `what` before the message."""
    try:
        yield
    except (StorageError, OSError) as error:
        text = paths.sentence(error) if isinstance(error, OSError) else str(error)
        raise kind(f"{what}: {text}" if what else text) from None


class NameTaken(RunError):
    """There is a run of that name, or another process is about to make it."""


def new_run(runs: str | Path | Place, name: str) -> Place:
    """The place of a new run. Raises NameTaken if it exists, RunError if it is not a valid folder name."""
    if not _NAME.fullmatch(name):
        raise RunError(
            f"run name {name!r} must be letters, digits, '.', '_' and '-', "
            "a letter or digit first, 100 at most"
        )
    with storage_errors():
        target = place(runs) / name
        # A process that was about to make it, and was killed, may have left a claim in a store.
        if target.exists() if target.local else any(not n.startswith("leases/") for n in target.files()):
            raise NameTaken(
                f"run name {name!r} is taken: {target} exists; choose another --name, "
                f"or resume it with: rtune resume {shlex.quote(str(target))}"
            )
    return target


def find_run(run: str, runs: str = "runs") -> RunFolder:
    """The run folder at a path or URI, or the run of that name in the folder `runs`. Raises RunError."""
    if "://" in run:
        return RunFolder(run)
    path = expand(run)
    with storage_errors():
        if not paths.exists(path) and _NAME.fullmatch(run):
            named = place(runs) / run
            if (named / "search.yaml").exists() or (named.local and named.exists()):
                return RunFolder(named)
    return RunFolder(path)
