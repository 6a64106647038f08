"""Takes the name of a new run, so that of several searches that start at the same time each has its own.

On a disk the claim on NAME is the hidden folder `.NAME.new` with a lock, which is renamed to the run folder.
In a store it is the lock of the run folder itself. A claim whose process has ended is void.
"""

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rtune.config import spec, yaml_file
from rtune.errors import RunError
from rtune.run import schema
from rtune.run.folder import NameTaken, RunFolder, new_run, storage_errors
from rtune.storage import lock, paths
from rtune.storage.lock import InUseError, Lock, LockLost
from rtune.storage.places import LocalPlace, Place, StorageError


def create(runs: str | Path | Place, name: str, search: spec.Spec, provenance: dict[str, Any]) -> RunFolder:
    """Creates the run folder `name` in the folder `runs`.

    Args:
        runs: path or URI of the parent folder.
        name: name of the run (see `new_run`).
        search: the search file.
        provenance: versions, seed and the like, saved in search.yaml.

    Raises:
        RunError: the folder cannot be created; nothing of it is left.
    """
    with claim(runs, name) as claimed:
        return claimed.make(search, provenance)


@contextlib.contextmanager
def claim(runs: str | Path | Place, name: str) -> Iterator["Claim"]:
    """Context in which no other process can make the run `name` in the folder `runs`.

    If the run folder has not been made by the end, nothing is left of it.

    Raises:
        NameTaken: there is such a run, or another process is about to make it.
        RunError: the name is not valid, or nothing can be written there.
    """
    target = new_run(runs, name)
    with contextlib.ExitStack() as stack:
        with _errors(target):
            if isinstance(target, LocalPlace):
                hidden = target.path.with_name(f".{name}.new")
                stack.enter_context(_parents(hidden))
                claimed = Claim(target, LocalPlace(hidden))
            else:
                claimed = Claim(target, target)
        stack.callback(claimed.release)
        new_run(runs, name)  # another process may have made it before this one had the lock
        yield claimed


@contextlib.contextmanager
def claim_free(runs: str | Path | Place, name: str) -> Iterator["Claim"]:
    """As `claim`; with -2, -3, ... after a name that is taken."""
    with contextlib.ExitStack() as stack:
        for number in itertools.count(1):
            with contextlib.suppress(NameTaken):
                claimed = stack.enter_context(claim(runs, name if number == 1 else f"{name}-{number}"))
                break
        yield claimed


class Claim:
    """The name of a run that only this process can make; from `claim`."""

    def __init__(self, target: Place, held: Place) -> None:
        """Takes the lock of `held`. Raises NameTaken, StorageError, OSError."""
        self._target = target
        self._held = held
        self._lock: Lock | None = _take(held, target.name)

    def make(self, search: spec.Spec, provenance: dict[str, Any]) -> RunFolder:
        """Creates the run folder (arguments as of `create`) and ends the claim. Raises RunError."""
        assert self._lock is not None, "made only once"
        tree = search.to_tree() | {"provenance": provenance | {"schema": schema.VERSION}}
        with _errors(self._target):
            self._lock.confirm()
            self._lock.check()
            (self._held / "search.yaml").write(yaml_file.dump(tree).encode())
            if self._held.local is not None and self._target.local is not None:
                for part in ("results", "trials"):
                    (self._held.local / part).mkdir(exist_ok=True)
                os.rename(self._held.local, self._target.local)
        self._lock.release()
        self._lock = None
        return RunFolder(self._target)

    def release(self) -> None:
        """Ends the claim; removes what is there unless the run folder has been made."""
        if self._lock is None:
            return
        if self._held.local is not None:
            shutil.rmtree(self._held.local, ignore_errors=True)
        self._lock.release()
        self._lock = None


def _take(held: Place, name: str) -> Lock:
    for _ in range(10):
        taken = None
        try:
            if held.local is not None:
                held.local.mkdir(exist_ok=True)
            taken = lock.take(held)
            taken.check()
            return taken
        except InUseError as error:
            raise NameTaken(
                f"run name {name!r} is taken: {error} is starting such a search; choose another --name"
            ) from None
        except (LockLost, StorageError):
            if taken is None and (held.local is None or held.local.is_dir()):
                raise
            if taken is not None:  # it is that of a claim that has just ended, with its folder
                taken.release()
    raise StorageError("other processes make and remove it all the time")


@contextlib.contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Context in which the folder around a path exists; at the end it is removed if it is new and empty."""
    absent = [parent for parent in path.parents if not parent.exists()]
    try:
        paths.make_folder(path.parent)
        yield
    finally:
        for parent in absent:  # the innermost first
            with contextlib.suppress(OSError):
                parent.rmdir()


@contextlib.contextmanager
def _errors(target: Place) -> Iterator[None]:
    with storage_errors(f"run folder {target} cannot be made"):
        try:
            yield
        except LockLost as error:
            raise RunError(f"run folder {target} cannot be made: {error}") from None
