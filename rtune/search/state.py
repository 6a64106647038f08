"""A search as a state machine over its log: suggest, report, promote, end. Uses neither Ray nor torch."""

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from itertools import count
from typing import Any

from rtune.config import rungs
from rtune.config.sections import EarlyStopping
from rtune.pareto.objectives import signed
from rtune.run.ledger import Ledger, Trial
from rtune.run.schema import REPLICATE
from rtune.search import replicates
from rtune.search.halving import ParetoHalving, Verdict
from rtune.search.plan import Plan
from rtune.search.suggestions import OptunaSuggester, Suggester


class Search:
    """Hands out trials, records their epochs, and decides which of them continue.

    Every decision is in the log before it takes effect. A resumed search applies the same fold as a running
    one: `Search(plan, records)` equals the object that wrote `records`.

    Args:
        plan: the plan of the search.
        records: the log so far.
        append: writes a record to the log.
        suggester: suggests values; None for the plan's sampler.
        replicates_only: hand out replicates only, and leave the search's own trials as they are.
    """

    def __init__(
        self,
        plan: Plan,
        records: Iterable[dict[str, Any]],
        append: Callable[[dict[str, Any]], None],
        suggester: Suggester | None = None,
        replicates_only: bool = False,
    ) -> None:
        self.plan = plan
        self.replicates_only = replicates_only
        self.ledger = Ledger()
        early = plan.early_stopping or EarlyStopping()
        self.halving = ParetoHalving(plan.rungs(), early.eta, early.brackets)
        self.suggester = suggester or OptunaSuggester(plan)
        self._append = append
        self._watchers: list[Callable[[dict[str, Any]], None]] = []
        self._tried: set[Hashable] = set()  # keys of settings in a finite space
        for record in records:
            self._apply(record)
        self._free = 1  # all smaller trial numbers are taken, and stay taken
        # Ray Tune calls at each step, so the methods must not loop over all trials of a large search.
        known = self.ledger.trials.items()
        self._running = {
            name: t for name, t in known if t.status == "running" and (t.of or not replicates_only)
        }
        self._unfinished = deque(self._running.values())

    def watch(self, watcher: Callable[[dict[str, Any]], None]) -> None:
        """Calls `watcher` with each new record once it is in the log."""
        self._watchers.append(watcher)

    def next_trial(self) -> Trial | None:
        """The trial that a free worker trains next; None if there is none now.

        In this order: an unfinished trial, a stopped trial that may now be promoted, a new trial.
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
        # A trial whose record was lost is suggested again under its own number.
        number = self._free = next(n for n in count(self._free) if _name(n) not in self.ledger.own)
        points = self.plan.points
        point = points[number - 1] if number <= len(points) else {}
        values, facts, source = self.suggester.suggest(self.ledger.own.values(), point)
        if self.plan.snap is not None:
            values = self.plan.snap(values)
        values, source = self._untried(values, source, point, number)
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

    def _untried(
        self, values: dict[str, Any], source: str, point: dict[str, Any], number: int
    ) -> tuple[dict[str, Any], str]:
        """The suggested values and their source or, in a finite space, others if a trial has had them."""
        space = self.plan.space
        if space is None or space.key(values) not in self._tried:
            return values, source
        other = space.untried(self._tried, point, [self.plan.seed, number])
        return (values, source) if other is None else (other, "point" if point else "random")

    def _remember(self, record: dict[str, Any]) -> None:
        if self.plan.space is not None and record["kind"] == "trial" and record["sampler"] != REPLICATE:
            self._tried.add(self.plan.space.key(record["values"]))

    def replicate(self, asked: replicates.ReplicateRequest) -> None:
        """Records the replicates that are missing. They are handed out after the unfinished trials."""
        for record in replicates.missing_records(self.ledger, asked, self.plan.seed):
            under_way = record["trial"] in self._running
            self._write(record)
            if not under_way:  # a replicate that is lengthened may be running already
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
        """Number of trials that `next_trial` has still to hand out."""
        if self.replicates_only:
            return len(self._unfinished)
        waiting = int(self._promotable() is not None)
        return len(self._unfinished) + waiting + max(0, self.plan.trials - len(self.ledger.own))

    def under_way(self) -> list[str]:
        """Trials that have been handed out and have not ended."""
        # Copies: the live view calls this from another thread.
        waiting = {trial.id for trial in list(self._unfinished)}
        return [name for name in list(self._running) if name not in waiting]

    def is_done(self) -> bool:
        """Whether every trial has been handed out and has ended, and none can be promoted."""
        return self.remaining() == 0 and not self._running

    def report(self, trial: str, epoch: int, metrics: dict[str, Any]) -> bool:
        """Records a trained epoch; True if the trial continues.

        An epoch that is in the log already, which a retried worker reports again, changes nothing.

        Args:
            trial: id.
            epoch: epochs trained, from 1.
            metrics: value of each metric of the plan; missing and None values are not recorded.
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
        """The rung's verdict on a trained epoch, and the decision: `continue`, `stop` or `finish`."""
        if trial.length is not None:
            return Verdict(keep=True), "finish" if epoch >= trial.length else "continue"
        verdict = self.halving.report(trial.id, epoch, signed(metrics, self.plan.objectives))
        if epoch >= self.plan.max_epochs:
            return verdict, "finish"
        return verdict, "continue" if verdict.keep else "stop"

    def retry(self, trial: str, error: str) -> None:
        """Records that a trial's worker failed; the trial is the next to be handed out."""
        epoch = self.ledger.trials[trial].epoch + 1
        self._write({"kind": "retry", "trial": trial, "epoch": epoch, "error": error})
        self._unfinished.appendleft(self.ledger.trials[trial])

    def end(self, trial: str, status: str, error: str) -> None:
        """Records that a trial ended without a network, in the epoch after its last.

        A worker that dies after its trial has ended changes nothing.

        Args:
            trial: id.
            status: `diverged` or `failed`.
            error: the reason, in one line.
        """
        known = self.ledger.trials[trial]
        if known.status != "running":
            return
        epoch = known.epoch + 1
        if status == "diverged" and known.of is None:
            self.halving.diverged(trial, epoch)
        self._write({"kind": "end", "trial": trial, "status": status, "epoch": epoch, "error": error})

    def _seed(self, number: int) -> int:
        # Spaced by 2**16, so that searches with neighbouring seeds share no trial seed.
        return (self.plan.seed << 16) + number

    def _write(self, record: dict[str, Any]) -> None:
        record["time"] = round(time.time(), 3)
        self._append(record)
        self.ledger.apply(record)
        self._remember(record)
        trial = self.ledger.trials[record["trial"]]
        if trial.status == "running":
            self._running[trial.id] = trial
        else:
            self._running.pop(trial.id, None)
        for watcher in self._watchers:
            watcher(record)

    def _apply(self, record: dict[str, Any]) -> None:
        """Restores the effect of a record of the log."""
        kind = record["kind"]
        if record.get("trial") in self.ledger.trials and record["trial"] not in self.ledger.own:
            pass  # replicates are not compared at rungs
        elif kind == "epoch":
            self._restore(record)
            if record["decision"] == "finish" and record["epoch"] < self.plan.max_epochs:
                self.halving.wait(record["trial"])  # `max_epochs` has been raised since
        elif kind == "promote":
            self.halving.promote(record["trial"])
        elif kind == "end" and record["status"] == "diverged":
            self.halving.diverged(record["trial"], record["epoch"])
        self.ledger.apply(record)
        self._remember(record)

    def _restore(self, record: dict[str, Any]) -> None:
        """Restores an epoch at the rungs. Its decision holds: older versions had other quotas and places."""
        name, point = record["trial"], signed(record, self.plan.objectives)
        verdict = self.halving.report(name, record["epoch"], point)
        if verdict.keep and record["decision"] == "stop":
            self.halving.wait(name)
        elif not verdict.keep and record["decision"] == "continue":
            self.halving.promote(name)


def _name(number: int) -> str:
    """`t0001`, `t0002`, ..."""
    return f"t{number:04d}"
