"""What must be true of the log of a search, however often it was disturbed."""

import collections
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from rtune.run import schema
from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from rtune.search.plan import of_spec
from rtune.search.state import Search
from rtune.storage.places import Place

Record = dict[str, Any]


@dataclass
class Harm:
    """What happened to records between two looks at a log: numbers of records.

    Attributes:
        lost: no longer there.
        changed: an epoch or a trial that is there with another content.
        doubled: epochs and trials that have become more than one record.
    """

    lost: int = 0
    changed: int = 0
    doubled: int = 0


def whole_lines(results: Place) -> list[Record]:
    """Every line of a log that is whole JSON, in order.

    Not by rtune's own reader, which leaves out a row that is there twice.
    """
    found = []
    for name in sorted(results.files()):
        for line in (results / name).read().split(b"\n"):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                found.append(record)
    return found


def harm(before: Iterable[Record], after: Iterable[Record]) -> Harm:
    """Compares two states of a log; records that were added are no harm."""
    before, after = list(before), list(after)
    texts, known = {_text(record) for record in after}, {_row(record) for record in after}
    found = Harm(doubled=_surplus(after) - _surplus(before))
    for record in before:
        if _text(record) in texts:
            continue
        row = _row(record)
        if row is not None and row in known:
            found.changed += 1
        else:
            found.lost += 1
    return found


def comes_back(torn: Record, after: Iterable[Record]) -> bool:
    """Whether a record that was torn by a fault is there again, as far as it must.

    The checkpoint has an epoch's metrics. The time and the verdict are new ones: other trials may have
    reported first. A trial is suggested again, and a launch or a retry needs no record.
    """
    if _row(torn) is None:
        return True
    metrics = [] if torn["kind"] == "trial" else [name for name in schema.epoch() if name in torn]
    return any(
        _row(record) == _row(torn) and all(record[name] == torn[name] for name in metrics) for record in after
    )


def problems(folder: RunFolder, trials: int, epochs: int) -> list[str]:
    """What is wrong with the log of a search that is done, in sentences.

    Args:
        folder: the run.
        trials, epochs: size of the search.
    """
    log, lines = folder.read(), whole_lines(folder.place / "results")
    found = []
    if len(log.records) != len(lines):
        found.append(f"{len(lines)} lines are whole, and rtune reads {len(log.records)}: {log.notes}")
    known = fold(log.records).trials
    if list(known) != [f"t{n:04d}" for n in range(1, trials + 1)]:
        found.append(f"the trials are {list(known)}, and {trials} were asked for")
    for trial in known.values():
        if trial.status not in ("stopped", "finished"):
            found.append(f"{trial.id} is {trial.status}: {trial.error}")
        if (trial.status == "finished") != (trial.epoch == epochs):
            found.append(f"{trial.id} is {trial.status} after {trial.epoch} of {epochs} epochs")
    return found + _wrong_decisions(folder, log.records)


def epochs_again(trace: str, anew: Collection[str] = ()) -> tuple[int, int]:
    """From a trace: how often an epoch was begun again, and how often although it had been saved.

    Trials in `anew` may begin anew.
    """
    begun: collections.Counter[tuple[str, str]] = collections.Counter()
    saved: set[tuple[str, str]] = set()
    of_saved = 0
    for line in trace.splitlines():
        what, trial, epoch = line.split()
        if what == "saved":
            saved.add((trial, epoch))
        else:
            of_saved += (trial, epoch) in saved and trial not in anew
            begun[trial, epoch] += 1
    return sum(n - 1 for n in begun.values()), of_saved


def _wrong_decisions(folder: RunFolder, records: list[Record]) -> list[str]:
    """Decisions in the log that a search that knows the log so far would not make."""
    written: list[Record] = []
    search = Search(of_spec(folder.spec), [], written.append)
    for record in records:
        written.clear()
        if record["kind"] == "epoch":
            status = search.ledger.trials[record["trial"]].status
            if status != "running":
                return [f"{record['trial']} was trained although it was {status}"]
            search.report(record["trial"], record["epoch"], {n: record[n] for n in schema.epoch()})
        elif record["kind"] in ("trial", "promote"):
            search.next_trial()
        else:
            continue
        ours = [{k: v for k, v in r.items() if k != "time"} for r in written]
        theirs = {k: v for k, v in record.items() if k != "time"}
        if json.loads(json.dumps(ours)) != [theirs]:
            return [f"the log has {theirs}, and a search with the log so far writes {ours}"]
    return []


def _text(record: Record) -> str:
    return json.dumps(record, sort_keys=True)


def _row(record: Record) -> tuple[str, str, int] | None:
    """What a log may hold once: an epoch of a trial, or a trial; None for other records."""
    if record.get("kind") not in ("epoch", "trial"):
        return None
    return record["kind"], record["trial"], record.get("epoch", 0)


def _surplus(records: Iterable[Record]) -> int:
    counts = collections.Counter(row for record in records if (row := _row(record)) is not None)
    return sum(n - 1 for n in counts.values())
