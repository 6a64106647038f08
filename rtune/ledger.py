"""Trials as a fold over a run's log: one function for resume, status, results and report."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Trial:
    """One setting and what became of it.

    Attributes:
        id: `t0001` and on, in the order of suggestion.
        seed: of everything random in it.
        values: searched values, dotted path -> value; only those that apply.
        sampler: `point`, or the sampler that suggested it.
        facts: what the sampler must remember of it.
        epochs: records of its epochs, 1, 2, ... without gaps.
        promotions: records of its stops that were taken back.
        retries: records of times its worker broke and it went on from its checkpoint.
        status: `running` until an end is recorded, then `stopped`, `finished`, `diverged`, `failed`.
            A stopped trial runs again once it is promoted.
        error: last line of what made it fail, or why it diverged.
        ended_epoch: the epoch in which it diverged or failed; None for other ends.
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

    @property
    def epoch(self) -> int:
        """Epochs recorded."""
        return len(self.epochs)

    @property
    def last(self) -> dict[str, Any] | None:
        return self.epochs[-1] if self.epochs else None

    def curve(self, names: Iterable[str]) -> np.ndarray:
        """(epochs, names), what was reached after each epoch."""
        wanted = list(names)
        return np.array([[record[name] for name in wanted] for record in self.epochs], float)

    def objectives(self, names: Iterable[str]) -> tuple[float, ...] | None:
        """The last epoch's objectives; None for a trial that has none or has no network."""
        if self.last is None or self.status in ("diverged", "failed"):
            return None
        return tuple(self.last[name] for name in names)


@dataclass
class Launch:
    """What one launch ran with (`rtune.search.plan.begin`)."""

    time: float
    trials: int
    concurrency: int
    max_epochs: int
    search: dict[str, Any]
    data: str


@dataclass
class Ledger:
    """Everything the log says."""

    trials: dict[str, Trial] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)

    def apply(self, record: dict[str, Any]) -> None:
        """Takes one record in. Kinds: `launch`, `trial`, `epoch`, `promote`, `retry`, `end`."""
        kind = record["kind"]
        if kind == "launch":
            names = ("time", "trials", "concurrency", "max_epochs", "search", "data")
            self.launches.append(Launch(*(record[name] for name in names)))
            self._lengthen(record["max_epochs"], record["rungs"])
        elif kind == "trial":
            trial = Trial(
                record["trial"], record["seed"], record["values"], record["sampler"], record["facts"]
            )
            self.trials[trial.id] = trial
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

    def _lengthen(self, max_epochs: int, rungs: list[int]) -> None:
        """Trials that finished a shorter training wait at its end, or go on where it is no rung."""
        for trial in self.trials.values():
            if trial.status == "finished" and trial.epoch < max_epochs:
                trial.status = "stopped" if trial.epoch in rungs else "running"


def fold(records: Iterable[dict[str, Any]]) -> Ledger:
    """The ledger of a whole log."""
    ledger = Ledger()
    for record in records:
        ledger.apply(record)
    return ledger
