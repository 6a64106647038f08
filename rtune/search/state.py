"""A search as a state machine over its log: suggest, report, end. Knows neither Ray nor torch."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rtune import schema
from rtune.ledger import Ledger, Trial
from rtune.search.halving import ParetoHalving, Verdict
from rtune.search.sampler import Sampler
from rtune.spec import Spec


class Search:
    """Hands out trials, takes their epochs in, and decides who goes on.

    Whatever is decided is in the log before it takes effect, and the same fold that resumes a
    search runs during it: `Search(spec, records)` equals the object that lived through `records`.

    Args:
        spec: what to search.
        records: the log so far.
        append: writes a record to the log.
        trials: how many trials in all; the spec's own number when None.
    """

    def __init__(
        self,
        spec: Spec,
        records: list[dict[str, Any]],
        append: Callable[[dict[str, Any]], None],
        trials: int | None = None,
    ) -> None:
        self.spec = spec
        self.ledger = Ledger()
        early = spec.search.early_stopping
        self.halving = ParetoHalving(spec.grace, early.eta if early else 2, spec.max_epochs)
        self.sampler = Sampler(spec)
        wanted = spec.trials if trials is None else trials
        self.trials = wanted if spec.ranges else min(wanted, len(spec.points))
        self._append = append
        for record in records:
            self._apply(record)
        self._unfinished = deque(t for t in self.ledger.trials.values() if t.status == "running")

    def next_trial(self) -> Trial | None:
        """An unfinished trial of an earlier launch, or a new one; None when all are handed out."""
        if self._unfinished:
            return self._unfinished.popleft()
        number = len(self.ledger.trials) + 1
        if number > self.trials:
            return None
        name = f"t{number:04d}"
        points = self.spec.points
        point = points[number - 1] if number <= len(points) else {}
        values, facts = self.sampler.suggest(name, point)
        source = "point" if point else self.spec.search.sampler
        trial = Trial(name, self._seed(number), values, source, facts)
        self._write(
            {
                "kind": "trial",
                "trial": trial.id,
                "seed": trial.seed,
                "values": trial.values,
                "sampler": trial.sampler,
                "facts": trial.facts,
            }
        )
        return trial

    def remaining(self) -> int:
        """Trials that `next_trial` has yet to hand out."""
        return len(self._unfinished) + max(0, self.trials - len(self.ledger.trials))

    def is_done(self) -> bool:
        """Whether every trial has been handed out and has ended."""
        return self.remaining() == 0 and all(t.status != "running" for t in self.ledger.trials.values())

    def report(self, trial: str, epoch: int, metrics: dict[str, Any]) -> bool:
        """Takes in a trained epoch; True if the trial goes on.

        An epoch that is in the log already (a retried worker) changes nothing.
        """
        known = self.ledger.trials[trial]
        if epoch <= known.epoch:
            return known.status == "running"
        point = tuple(metrics[name] for name in self.spec.search.objectives)
        verdict = self._judge(trial, epoch, point)
        decision = "continue" if verdict.keep else "stop"
        if epoch >= self.spec.max_epochs:
            decision = "finish"
        self._write(
            {
                "kind": "epoch",
                "trial": trial,
                "epoch": epoch,
                "decision": decision,
                "rung": verdict.rung,
                "rung_position": verdict.position,
                "rung_size": verdict.size,
                **{name: metrics[name] for name in schema.METRICS},
            }
        )
        return decision == "continue"

    def end(self, trial: str, status: str, error: str) -> None:
        """Records that a trial `diverged` or `failed`, in the epoch after its last.

        A worker that dies after its trial has ended changes nothing.
        """
        if self.ledger.trials[trial].status != "running":
            return
        epoch = self.ledger.trials[trial].epoch + 1
        if status == "diverged":
            self.halving.diverged(trial, epoch)
        self._write({"kind": "end", "trial": trial, "status": status, "epoch": epoch, "error": error})

    def _judge(self, trial: str, epoch: int, point: tuple[float, ...]) -> Verdict:
        return self.halving.report(trial, epoch, point)

    def _seed(self, number: int) -> int:
        # Far apart, so that two searches with neighbouring seeds share no trial's seed.
        return (self.spec.search.seed << 16) + number

    def _write(self, record: dict[str, Any]) -> None:
        record["time"] = round(time.time(), 3)
        self._append(record)
        self._learn(record)

    def _apply(self, record: dict[str, Any]) -> None:
        """Brings back what a record of the log did to scheduler and sampler."""
        if record["kind"] == "epoch":
            self._judge(
                record["trial"],
                record["epoch"],
                tuple(record[name] for name in self.spec.search.objectives),
            )
        elif record["kind"] == "end" and record["status"] == "diverged":
            self.halving.diverged(record["trial"], record["epoch"])
        self._learn(record)
        if record["kind"] == "trial":
            self.sampler.add(self.ledger.trials[record["trial"]])

    def _learn(self, record: dict[str, Any]) -> None:
        self.ledger.apply(record)
        trial = self.ledger.trials.get(record.get("trial", ""))
        if record["kind"] in ("epoch", "end") and trial is not None and trial.status != "running":
            self.sampler.tell(trial)
