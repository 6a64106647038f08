"""A search as a state machine over its log: suggest, report, promote, end. Knows neither Ray nor torch."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from rtune.config import rungs
from rtune.config.sections import EarlyStopping
from rtune.pareto.objectives import signed
from rtune.run.ledger import Ledger, Trial
from rtune.search import replicates
from rtune.search.halving import ParetoHalving, Verdict
from rtune.search.plan import Plan
from rtune.search.sampler import Sampler, Suggests


class Search:
    """Hands out trials, takes their epochs in, and decides who goes on.

    Whatever is decided is in the log before it takes effect, and the same fold that resumes a
    search runs during it: `Search(plan, records)` equals the object that lived through `records`.

    Args:
        plan: what to search.
        records: the log so far.
        append: writes a record to the log.
        sampler: suggests values; the plan's own when None.
        replicates_only: hands out trials that repeat others, and leaves the search's own as they are.
    """

    def __init__(
        self,
        plan: Plan,
        records: Iterable[dict[str, Any]],
        append: Callable[[dict[str, Any]], None],
        sampler: Suggests | None = None,
        replicates_only: bool = False,
    ) -> None:
        self.plan = plan
        self.replicates_only = replicates_only
        self.ledger = Ledger()
        early = plan.early_stopping or EarlyStopping()
        self.halving = ParetoHalving(plan.rungs(), early.eta, early.brackets)
        self.sampler = sampler or Sampler(plan)
        self._append = append
        self._watchers: list[Callable[[dict[str, Any]], None]] = []
        for record in records:
            self._apply(record)
        self._free = 1  # no smaller number is free; none ever becomes so
        # Ray Tune asks at each step, so nothing here may go through all trials of a large search.
        known = self.ledger.trials.items()
        self._running = {
            name: t for name, t in known if t.status == "running" and (t.of or not replicates_only)
        }
        self._unfinished = deque(self._running.values())

    def watch(self, watcher: Callable[[dict[str, Any]], None]) -> None:
        """Has a watcher told of each new record once it is in the log."""
        self._watchers.append(watcher)

    def next_trial(self) -> Trial | None:
        """What a free worker does next; None if there is nothing now.

        An unfinished trial of an earlier launch, a stopped one that may go on by now, or a new one.
        """
        if self._unfinished:
            return self._unfinished.popleft()
        if self.replicates_only:
            return None
        promoted = self._promotable()
        if promoted is not None:
            return self._promote(promoted)
        if len(self.ledger.own) >= self.plan.trials:
            return None
        # One whose record was lost is suggested anew under its own number.
        number = self._free = next(n for n in count(self._free) if _name(n) not in self.ledger.own)
        points = self.plan.points
        point = points[number - 1] if number <= len(points) else {}
        values, facts, source = self.sampler.suggest(self.ledger.own.values(), point)
        if self.plan.snap is not None:
            values = self.plan.snap(values)
        trial = Trial(_name(number), self._seed(number), values, source, facts)
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

    def replicate(self, asked: replicates.Asked) -> None:
        """Records the replicates that are lacking; unfinished ones are handed out before them."""
        for record in replicates.lacking(self.ledger, asked, self.plan.seed):
            under_way = record["trial"] in self._running
            self._write(record)
            if not under_way:  # one that is lengthened may be
                self._unfinished.append(self.ledger.trials[record["trial"]])

    def _leniency(self) -> float:
        return rungs.leniency(len(self.ledger.own), self.plan.trials, self.halving.eta)

    def _promotable(self) -> str | None:
        return self.halving.promotable(self._leniency())

    def _promote(self, name: str) -> Trial:
        verdict = self.halving.promote(name, self._leniency())
        self._write(
            {
                "kind": "promote",
                "trial": name,
                "rung": verdict.rung,
                "rung_position": verdict.position,
                "rung_size": verdict.size,
                "rung_quota": verdict.quota,
            }
        )
        return self.ledger.trials[name]

    def remaining(self) -> int:
        """Trials that `next_trial` has to hand out as things stand."""
        if self.replicates_only:
            return len(self._unfinished)
        waiting = int(self._promotable() is not None)
        return len(self._unfinished) + waiting + max(0, self.plan.trials - len(self.ledger.own))

    def under_way(self) -> list[str]:
        """Trials that have been handed out and have not ended."""
        # Copies: the live view asks from a thread of its own.
        waiting = {trial.id for trial in list(self._unfinished)}
        return [name for name in list(self._running) if name not in waiting]

    def is_done(self) -> bool:
        """Whether every trial has been handed out and has ended, and none may go on."""
        return self.remaining() == 0 and not self._running

    def report(self, trial: str, epoch: int, metrics: dict[str, Any]) -> bool:
        """Takes in a trained epoch; True if the trial goes on.

        An epoch that is in the log already (a retried worker) changes nothing.
        """
        known = self.ledger.trials[trial]
        if epoch <= known.epoch:
            return known.status == "running"
        verdict, decision = self._judge(known, epoch, metrics)
        self._write(
            {
                "kind": "epoch",
                "trial": trial,
                "epoch": epoch,
                "decision": decision,
                "rung": verdict.rung,
                "rung_position": verdict.position,
                "rung_size": verdict.size,
                "rung_quota": verdict.quota,
                **{name: metrics[name] for name in self.plan.metrics if metrics.get(name) is not None},
            }
        )
        return decision == "continue"

    def _judge(self, trial: Trial, epoch: int, metrics: dict[str, Any]) -> tuple[Verdict, str]:
        """What the rungs say of a trained epoch, and what is decided."""
        if trial.length is not None:
            return Verdict(keep=True), "finish" if epoch >= trial.length else "continue"
        verdict = self.halving.report(trial.id, epoch, signed(metrics, self.plan.objectives))
        if epoch >= self.plan.max_epochs:
            return verdict, "finish"
        return verdict, "continue" if verdict.keep else "stop"

    def retry(self, trial: str, error: str) -> None:
        """Records that a trial's worker broke; it is handed out again, before all others."""
        epoch = self.ledger.trials[trial].epoch + 1
        self._write({"kind": "retry", "trial": trial, "epoch": epoch, "error": error})
        self._unfinished.appendleft(self.ledger.trials[trial])

    def end(self, trial: str, status: str, error: str) -> None:
        """Records that a trial `diverged` or `failed`, in the epoch after its last.

        A worker that dies after its trial has ended changes nothing.
        """
        known = self.ledger.trials[trial]
        if known.status != "running":
            return
        epoch = known.epoch + 1
        if status == "diverged" and known.of is None:
            self.halving.diverged(trial, epoch)
        self._write({"kind": "end", "trial": trial, "status": status, "epoch": epoch, "error": error})

    def _seed(self, number: int) -> int:
        # Far apart, so that two searches with neighbouring seeds share no trial's seed.
        return (self.plan.seed << 16) + number

    def _write(self, record: dict[str, Any]) -> None:
        record["time"] = round(time.time(), 3)
        self._append(record)
        self.ledger.apply(record)
        trial = self.ledger.trials[record["trial"]]
        if trial.status == "running":
            self._running[trial.id] = trial
        else:
            self._running.pop(trial.id, None)
        for watcher in self._watchers:
            watcher(record)

    def _apply(self, record: dict[str, Any]) -> None:
        """Brings back what a record of the log did."""
        kind = record["kind"]
        if record.get("trial") in self.ledger.trials and record["trial"] not in self.ledger.own:
            pass  # a replicate is nothing to the rungs
        elif kind == "epoch":
            point = signed(record, self.plan.objectives)
            self.halving.report(record["trial"], record["epoch"], point)
            if record["decision"] == "finish" and record["epoch"] < self.plan.max_epochs:
                self.halving.wait(record["trial"])  # the training has been made longer since
        elif kind == "promote":
            self.halving.promote(record["trial"])
        elif kind == "end" and record["status"] == "diverged":
            self.halving.diverged(record["trial"], record["epoch"])
        self.ledger.apply(record)


def _name(number: int) -> str:
    """`t0001` and on."""
    return f"t{number:04d}"
