"""Writes the search as an Optuna study to a file for optuna-dashboard. rtune itself never reads it."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from rtune.run import schema
from rtune.search import optuna_space
from rtune.search.plan import Plan

FILE = "optuna.journal"


class OptunaJournal:
    """Rewritten at the start of each launch, then extended with each record of the log.

    Running and stopped trials have the state RUNNING, since both may continue; at the end of the launch
    stopped trials become PRUNED. Diverged and failed trials are FAIL. Replicates are omitted: the sampler has
    not suggested them. If the file cannot be written, the journal ends and the search continues.

    Args:
        folder: the run folder; None if it is not on a local disk: then there is no file.
        plan: of the search.
        records: the log so far.
    """

    def __init__(self, folder: Path | None, plan: Plan, records: Iterable[dict[str, Any]]) -> None:
        self._plan = plan
        self._numbers: dict[str, int] = {}
        self._stopped: set[str] = set()
        self._study: optuna.Study | None = None
        if folder is None:
            return
        file = folder / FILE
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
            self._study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(file))),
                study_name="rtune",
                directions=["maximize" if o.maximise else "minimize" for o in plan.objectives],
            )
            self._study.set_metric_names([o.name for o in plan.objectives])
        for record in records:
            self.add(record)

    def add(self, record: dict[str, Any]) -> None:
        """Adds a record of the log."""
        if self._study is None:
            return
        try:
            self._add(self._study, record)
        except Exception:  # no error of the journal may end the search
            self._study = None

    def close(self) -> None:
        """Marks the stopped trials as pruned at the end of the launch."""
        if self._study is not None:
            with contextlib.suppress(OSError):
                for name in sorted(self._stopped):
                    self._study.tell(self._numbers[name], state=TrialState.PRUNED)

    def _add(self, study: optuna.Study, record: dict[str, Any]) -> None:
        kind, name = record["kind"], record.get("trial", "")
        if kind == "trial" and record["sampler"] != schema.REPLICATE:
            self._numbers[name] = len(self._numbers)
            study.add_trial(self._running_trial(record))
        elif name not in self._numbers:
            return  # a launch record, or a replicate
        elif kind == "promote":
            self._stopped.discard(name)
        elif kind == "end":
            study.tell(self._numbers[name], state=TrialState.FAIL)
        elif kind == "epoch" and record["decision"] != "continue" and record["epoch"] < self._plan.max_epochs:
            self._stopped.add(name)
        elif kind == "epoch" and record["decision"] == "finish":
            study.tell(self._numbers[name], [float(record[o.name]) for o in self._plan.objectives])

    def _running_trial(self, record: dict[str, Any]) -> optuna.trial.FrozenTrial:
        inside = self._plan.inside(record["values"])
        return create_trial(
            state=TrialState.RUNNING,
            params=inside,
            distributions={p: optuna_space.distribution(self._plan.ranges[p]) for p in inside},
            user_attrs={"trial": record["trial"], "suggested by": record["sampler"], **record["values"]},
        )
