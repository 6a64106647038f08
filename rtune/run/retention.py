"""Which checkpoints stay, so that a run's size is bounded (docs/resume.md).

A trial under way keeps its newest two; one that has ended keeps its newest, since a stopped one may go on
and any may be wanted; one that diverged or failed keeps none. Pruning leaves those that are needed: of
trials under way, and of networks on the front with those of the same settings.
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


class Keeper:
    """Drops what an ended trial no longer needs, in the background; use it as a context.

    A store that does not delete ends nothing: what stays costs only room.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(1)

    def take(self, record: dict[str, Any]) -> None:
        """Takes in a record of the log."""
        if record["kind"] == "end":
            self._submit(self._folder.trial_folder(record["trial"]).delete)
        elif record["kind"] == "epoch" and record["decision"] != "continue":
            # No more than that: by now the trial may have been let go on, and be writing.
            self._submit(lambda: checkpoint_file.drop(self._folder.trial_folder(record["trial"]), 1))

    def _submit(self, action: Callable[[], None]) -> None:
        def act() -> None:
            with contextlib.suppress(StorageError, FileNotFoundError):
                action()

        self._pool.submit(act)

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=error is None, cancel_futures=error is not None)


@dataclass(frozen=True)
class Pruned:
    """What pruning did: files and bytes gone, trials that kept theirs: of the front, others under way.

    With a trial of the front go those of the same settings (`rtune replicate`).
    """

    files: int
    bytes: int
    of_front: int
    under_way: int


def prune(folder: RunFolder) -> Pruned:
    """Deletes the checkpoints that neither the front, with its replicates, nor a trial under way needs.

    While trials are under way or waiting, a network stays that only unfinished trials outdo: they may yet
    change. A launch may be running: a trial that it lets go on without a checkpoint trains from its start.

    Raises:
        StorageError: something cannot be deleted; the rest has been.
    """
    # Files first: what is made while the log is read is not among them. A store's log may lag behind its
    # checkpoints, so those that it does not know yet are spared too.
    files = (folder.place / "trials").files()
    ledger = fold(folder.read().records)
    wanted = _with_kin(_wanted(ledger, folder.spec.objectives), ledger)
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
    """Whether a file of a trial is of an epoch that the log does not have."""
    trial, _, name = path.partition("/")
    known = ledger.trials[trial].epoch if trial in ledger.trials else 0
    return (checkpoint_file.epoch_of(name) or 0) > known


def _with_kin(wanted: dict[str, int], ledger: Ledger) -> dict[str, int]:
    """And their replicates, and what they repeat: one says how far the other is to be believed."""
    families = {ledger.trials[name].of or name for name in wanted}
    kin = (t for t in ledger.trials.values() if (t.of or t.id) in families)
    return wanted | {t.id: t.epoch for t in kin if t.epoch and t.status not in ("diverged", "failed")}


def _wanted(ledger: Ledger, objectives: Sequence[Objective]) -> dict[str, int]:
    """Trials whose networks stay, with their last epochs."""
    reached = {name: p for name, t in ledger.trials.items() if (p := t.point(objectives)) is not None}
    open_ = any(trial.status == "running" for trial in ledger.trials.values())
    judges = [p for name, p in reached.items() if not open_ or ledger.trials[name].status == "finished"]
    others = np.array(judges).reshape(-1, len(objectives))
    return {
        name: ledger.trials[name].epoch
        for name, point in reached.items()
        if not ((others >= point).all(axis=1) & (others > point).any(axis=1)).any()
    }
