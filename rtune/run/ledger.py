"""Trials as a fold over a run's log: one function for resume, status, results and report."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from rtune.pareto.objectives import Objective, signed
from rtune.run.schema import REPLICATE


@dataclass
class Trial:
    """One setting and what became of it.

    Attributes:
        id: `t0001` and on, in the order of suggestion; `t0003r1` and on of those that repeat t0003.
        seed: of everything random in it.
        values: searched values, dotted path -> value; only those that apply.
        sampler: `point`, the sampler that suggested it, or `replicate`.
        facts: what the sampler must remember of it.
        epochs: records of its epochs, 1, 2, ... without gaps.
        promotions: records of its stops that were taken back.
        retries: records of times its worker broke and it went on from its checkpoint.
        status: `running` until an end is recorded, then `stopped`, `finished`, `diverged`, `failed`.
            A stopped trial runs again once it is promoted.
        error: last line of what made it fail, or why it diverged.
        ended_epoch: the epoch in which it diverged or failed; None for other ends.
        of: the trial whose settings it repeats; None for the search's own.
        length: the epoch at which such a replicate ends; None for the search's own.
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
        """Epochs recorded."""
        return len(self.epochs)

    @property
    def last(self) -> dict[str, Any] | None:
        return self.epochs[-1] if self.epochs else None

    @property
    def has_network(self) -> bool:
        """Whether there is a network after its last epoch."""
        return self.last is not None and self.status not in ("diverged", "failed")

    def curve(self, objectives: Sequence[Objective]) -> np.ndarray:
        """(epochs, objectives), signed: what was reached after each epoch."""
        return np.array([signed(record, objectives) for record in self.epochs], float)

    def point(self, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
        """The last epoch's objectives, signed; None for a trial without a network."""
        if self.last is None or not self.has_network:
            return None
        return signed(self.last, objectives)


@dataclass
class Launch:
    """What one launch ran with (`rtune.search.plan.begin`).

    `train_images` and `validation_images` are numbers of images: those that a trial trains on, and those that
    it is measured on. `command` is `search`, `resume`, or
    `replicate` for a launch that left the search as it was, and `asked` its options on which trials to train.
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
    """How many there are for a network to be measured on; 0 before any launch."""
    return max((launch.validation_images for launch in launches), default=0)


@dataclass
class Ledger:
    """Everything the log says.

    Attributes:
        trials: all, by id.
        own: those of them that the search itself has suggested: all but replicates.
        launches: in order.
    """

    trials: dict[str, Trial] = field(default_factory=dict)
    own: dict[str, Trial] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)

    def apply(self, record: dict[str, Any]) -> None:
        """Takes one record in. Kinds: `launch`, `trial`, `epoch`, `promote`, `lengthen`, `retry`, `end`."""
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
        """Lengths of a full training so far and `more`, ascending: each launch may have raised it."""
        return sorted({launch.max_epochs for launch in self.launches} | set(more))

    def _begin(self, record: dict[str, Any]) -> None:
        facts = record["facts"]
        trial = Trial(record["trial"], record["seed"], record["values"], record["sampler"], facts)
        self.trials[trial.id] = trial
        if trial.sampler == REPLICATE:
            trial.of, trial.length = facts["of"], facts["epochs"]
        else:
            self.own[trial.id] = trial

    def _lengthen(self, max_epochs: int, rungs: list[int]) -> None:
        """Trials that finished a shorter training wait at its end, or go on where it is no rung."""
        for trial in self.own.values():
            if trial.status == "finished" and trial.epoch < max_epochs:
                trial.status = "stopped" if trial.epoch in rungs else "running"


def fold(records: Iterable[dict[str, Any]]) -> Ledger:
    """The ledger of a whole log."""
    ledger = Ledger()
    for record in records:
        ledger.apply(record)
    return ledger
