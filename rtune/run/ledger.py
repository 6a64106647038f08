"""The ledger of a run: its trials and launches, as a fold over its log."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from rtune.pareto.objectives import Objective, signed
from rtune.run.schema import REPLICATE


@dataclass
class Trial:
    """A trial: one setting, its epochs and its status.

    Attributes:
        id: `t0001`, `t0002`, ... in the order of suggestion; replicates of t0003 are `t0003r1`, `t0003r2`,
            ...
        seed: seed of everything random in the trial.
        values: searched values that apply (dotted path -> value).
        sampler: `point`, the name of the sampler that suggested the trial, or `replicate`.
        facts: the sampler's attributes of the trial; for a replicate, its original and length.
        epochs: records of its epochs 1, 2, ... without gaps.
        promotions: records of its promotions from a rung.
        retries: records of its restarts from a checkpoint after a worker failed.
        status: `running` until an end is recorded, then `stopped`, `finished`, `diverged` or `failed`.
            A stopped trial is `running` again once it is promoted.
        error: reason of a failure or divergence, in one line; None otherwise.
        ended_epoch: epoch in which it diverged or failed; None otherwise.
        ended_time: time of its end, in seconds since 1970; None without an end.
        of: id of the original of a replicate; None for the search's own trials.
        length: number of epochs of a replicate; None for the search's own trials.
    """

    id: str
    seed: int
    values: dict[str, Any]
    sampler: str
    facts: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    promotions: list[dict[str, Any]] = field(default_factory=list)
    retries: list[dict[str, Any]] = field(default_factory=list)
    status: str = "running"
    error: str | None = None
    ended_epoch: int | None = None
    ended_time: float | None = None
    of: str | None = None
    length: int | None = None

    @property
    def epoch(self) -> int:
        """Number of epochs recorded."""
        return len(self.epochs)

    @property
    def last(self) -> dict[str, Any] | None:
        """Record of the last epoch; None before the first."""
        return self.epochs[-1] if self.epochs else None

    @property
    def has_network(self) -> bool:
        """Whether it has a network: at least one epoch, and neither diverged nor failed."""
        return self.last is not None and self.status not in ("diverged", "failed")

    def curve(self, objectives: Sequence[Objective]) -> np.ndarray:
        """Objectives after each epoch, (epochs, objectives), signed so that larger is better."""
        return np.array([signed(record, objectives) for record in self.epochs], float)

    def point(self, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
        """Objectives after the last epoch, (objectives,), signed; None for a trial without a network."""
        if self.last is None or not self.has_network:
            return None
        return signed(self.last, objectives)


@dataclass
class Launch:
    """The settings of one launch (`rtune.search.plan.launch_record`).

    Attributes:
        time: its start, in seconds since 1970.
        trials: number of trials of the whole run.
        command: `search`, `resume` or `replicate`; the last adds no trials of the search's own.
        asked: the command-line options that select the trials to train.
        concurrency: trials that train at once.
        max_epochs: epochs of a full training.
        search: the part of the search file that affects results (`rtune.run.changes.fixed`).
        data: fingerprint of the data.
        train_images: number of training images of a trial.
        validation_images: number of images on which a network is measured.
    """

    time: float
    trials: int
    command: str
    asked: str
    concurrency: int
    max_epochs: int
    search: dict[str, Any]
    data: str
    train_images: int
    validation_images: int


def validation_images(launches: Iterable[Launch]) -> int:
    """Number of validation images of a run; 0 before any launch."""
    return max((launch.validation_images for launch in launches), default=0)


@dataclass
class Ledger:
    """The state of a run according to its log.

    Attributes:
        trials: all trials by id.
        own: the search's own trials by id: all but replicates.
        launches: all launches in order.
    """

    trials: dict[str, Trial] = field(default_factory=dict)
    own: dict[str, Trial] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)

    def apply(self, record: dict[str, Any]) -> None:
        """Applies one record. Kinds: `launch`, `trial`, `epoch`, `promote`, `lengthen`, `retry`, `end`."""
        kind = record["kind"]
        if kind == "launch":
            known = {f.name: record[f.name] for f in fields(Launch) if f.name in record}
            self.launches.append(Launch(**known))
            self._lengthen(record["max_epochs"], record["rungs"])
        elif kind == "trial":
            self._begin(record)
        elif kind == "epoch":
            trial = self.trials[record["trial"]]
            trial.epochs.append(record)
            if record["decision"] != "continue":
                trial.status = {"stop": "stopped", "finish": "finished"}[record["decision"]]
                trial.ended_time = record["time"]
        elif kind == "promote":
            trial = self.trials[record["trial"]]
            trial.promotions.append(record)
            trial.status, trial.ended_time = "running", None
        elif kind == "lengthen":
            trial = self.trials[record["trial"]]
            self._replicates()
            trial.length = record["epochs"]
            trial.status, trial.ended_time = "running", None
        elif kind == "retry":
            self.trials[record["trial"]].retries.append(record)
        elif kind == "end":
            trial = self.trials[record["trial"]]
            trial.status = record["status"]
            trial.error = record["error"]
            trial.ended_epoch = record["epoch"]
            trial.ended_time = record["time"]

    def ends(self, *more: int) -> list[int]:
        """All values of `max_epochs` of the launches and `more`, ascending and distinct."""
        return sorted({launch.max_epochs for launch in self.launches} | set(more))

    def _begin(self, record: dict[str, Any]) -> None:
        facts = record["facts"]
        trial = Trial(record["trial"], record["seed"], record["values"], record["sampler"], facts)
        self.trials[trial.id] = trial
        if trial.sampler == REPLICATE:
            trial.of, trial.length = facts["of"], facts["epochs"]
            self._replicates()
        else:
            self.own[trial.id] = trial

    def _replicates(self) -> None:
        """Marks the newest launch as one of `rtune replicate`: before schema 4 its record does not tell."""
        if self.launches:
            self.launches[-1].command = REPLICATE

    def _lengthen(self, max_epochs: int, rungs: list[int]) -> None:
        """Trials that finished a shorter training wait if its end is a rung, and else continue."""
        for trial in self.own.values():
            if trial.status == "finished" and trial.epoch < max_epochs:
                trial.status = "stopped" if trial.epoch in rungs else "running"


def fold(records: Iterable[dict[str, Any]]) -> Ledger:
    """The ledger of all records of a log, in order."""
    ledger = Ledger()
    for record in records:
        ledger.apply(record)
    return ledger
