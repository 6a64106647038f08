"""Checkpoint retention: which checkpoints are kept, so that the size of a run is bounded (docs/resume.md).

A running trial keeps its newest two. A stopped or finished trial keeps its newest: it may be promoted, or its
network may be used. A diverged or failed trial keeps none. Pruning a run keeps only the checkpoints of
running trials, and of the networks on the front with their replicates.
"""

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from rtune.pareto.objectives import Objective
from rtune.run import checkpoint_file
from rtune.run.folder import RunFolder
from rtune.run.ledger import Ledger, fold
from rtune.storage.places import StorageError


class CheckpointCleaner:
    """Deletes the checkpoints that ended trials no longer need, in the background; a context manager.

    A deletion that fails is ignored: the file only takes up space.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(1)

    def take(self, record: dict[str, Any]) -> None:
        """Deletes what a record of the log makes superfluous: all checkpoints, or all but the newest."""
        if record["kind"] == "end":
            self._submit(self._folder.trial_folder(record["trial"]).delete)
        elif record["kind"] == "epoch" and record["decision"] != "continue":
            # Not more: the trial may have been promoted already, and be writing its next checkpoint.
            self._submit(lambda: checkpoint_file.drop(self._folder.trial_folder(record["trial"]), 1))

    def _submit(self, action: Callable[[], None]) -> None:
        def act() -> None:
            with contextlib.suppress(StorageError, FileNotFoundError):
                action()

        self._pool.submit(act)

    def __enter__(self) -> "CheckpointCleaner":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=error is None, cancel_futures=error is not None)


@dataclass(frozen=True)
class Pruned:
    """The result of pruning.

    Attributes:
        files: number of files deleted.
        bytes: their size.
        of_front: number of trials on the front, and replicates of their settings, that kept a checkpoint.
        under_way: number of other trials that kept checkpoints.
    """

    files: int
    bytes: int
    of_front: int
    under_way: int


def prune(folder: RunFolder) -> Pruned:
    """Deletes the checkpoints that neither the front, with its replicates, nor a running trial needs.

    While trials are running, a network is kept if only unfinished trials dominate it, since their results may
    change. A launch may be running: a trial that it promotes without a checkpoint trains from the start.

    Raises:
        StorageError: a file cannot be deleted; those before it are.
    """
    # Files are listed before the log is read, so that newer files are not in the list. The log of a store may
    # lag behind its checkpoints, so those of epochs that it lacks are kept too.
    files = (folder.place / "trials").files()
    ledger = fold(folder.read().records)
    wanted = _with_replicates(_wanted(ledger, folder.spec.objectives), ledger)
    live = folder.is_live()
    under_way = {name for name, trial in ledger.trials.items() if trial.status == "running"}
    gone = size = 0
    left: set[str] = set()
    for path, length in files.items():
        trial = path.split("/")[0]
        if trial in under_way or (live and _is_ahead(path, ledger)):
            left.add(trial)
            continue
        if trial in wanted and path == f"{trial}/{checkpoint_file.path_of(folder.place, wanted[trial]).name}":
            left.add(trial)
            continue
        (folder.place / "trials" / path).delete()
        gone, size = gone + 1, size + length
    return Pruned(gone, size, len(left & set(wanted)), len(left - set(wanted)))


def _is_ahead(path: str, ledger: Ledger) -> bool:
    """Whether a file is the checkpoint of an epoch that the log does not have."""
    trial, _, name = path.partition("/")
    known = ledger.trials[trial].epoch if trial in ledger.trials else 0
    return (checkpoint_file.epoch_of(name) or 0) > known


def _with_replicates(wanted: dict[str, int], ledger: Ledger) -> dict[str, int]:
    """The wanted trials with their replicates and originals, which show how much results vary."""
    families = {ledger.trials[name].of or name for name in wanted}
    relatives = (t for t in ledger.trials.values() if (t.of or t.id) in families)
    return wanted | {t.id: t.epoch for t in relatives if t.epoch and t.status not in ("diverged", "failed")}


def _wanted(ledger: Ledger, objectives: Sequence[Objective]) -> dict[str, int]:
    """Trials whose networks are kept -> their last epochs."""
    reached = {name: p for name, t in ledger.trials.items() if (p := t.point(objectives)) is not None}
    unfinished = any(trial.status == "running" for trial in ledger.trials.values())
    compared = [
        p for name, p in reached.items() if not unfinished or ledger.trials[name].status == "finished"
    ]
    others = np.array(compared).reshape(-1, len(objectives))
    return {
        name: ledger.trials[name].epoch
        for name, point in reached.items()
        if not ((others >= point).all(axis=1) & (others > point).any(axis=1)).any()
    }
