"""Why a trial was stopped or went on, rung by rung, from the run's log."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rtune import rungs, summary
from rtune.ledger import fold
from rtune.spec import Spec

# So many of the trials that are better in every respect are named.
_NAMED = 6


class UnknownTrialError(Exception):
    """The run has no such trial; the message is for the person who asked."""


def explain(records: Sequence[dict[str, Any]], spec: Spec, trial: str) -> Iterator[str]:
    """Lines that tell what became of a trial and why.

    Raises:
        UnknownTrialError: see the class.
    """
    ledger = fold(records)
    if trial not in ledger.trials:
        known = list(ledger.own)
        there = f"the run has {known[0]} to {known[-1]}" if known else "the run has none yet"
        raise UnknownTrialError(f"--explain is {trial!r}; {there}")
    found = ledger.trials[trial]
    origin = f"suggested by: {found.sampler}" if found.of is None else f"repeats {found.of}"
    yield f"{trial}: {summary.settings(found.values)} ({origin}, seed {found.seed})"
    objectives = spec.search.objectives
    early = spec.search.early_stopping
    seen: dict[tuple[int, int], dict[str, Any]] = {}
    ends: dict[str, int] = {}  # where trials ended that finished a training of the length it had
    for record in records:
        if record["kind"] == "epoch" and record["decision"] == "finish":
            ends[record["trial"]] = record["epoch"]
        if record["kind"] == "launch" and found.of is None:
            yield from _lengthened(record, trial, ends)
        if record["kind"] == "retry" and record["trial"] == trial:
            yield f"  epoch {record['epoch']}: broke, and was tried again: {record['error']}"
        if record["kind"] not in ("epoch", "promote") or record.get("rung_quota") is None:
            continue
        place = (rungs.bracket(record["trial"], early.brackets if early else 1), record["rung"])
        others = seen.setdefault(place, {})
        if record["kind"] == "epoch":
            others[record["trial"]] = record
        if record["trial"] == trial:
            yield "  " + _verdict(record, others, objectives)
    outcome = summary.outcome(found, summary.max_epochs(ledger, spec))
    reached = found.objectives(objectives)
    figures = found.error or ""
    if reached is not None:
        figures = ", ".join(f"{n} {v:.3f}" for n, v in zip(objectives, reached, strict=True))
    yield f"  {outcome}: {figures}" if figures else f"  {outcome}"


def _lengthened(launch: dict[str, Any], trial: str, ends: dict[str, int]) -> Iterator[str]:
    """What a launch with a longer training made of a trial's end."""
    end, length = ends.get(trial), launch["max_epochs"]
    if end is None or end >= length:
        return
    if end in launch["rungs"]:
        there = sum(other == end for other in ends.values())
        yield (
            f"  a launch made trainings {length} epochs long: the end at epoch {end} became a rung, which "
            f"{there} trial{'s' * (there != 1)} had reached; the best of them go on"
        )
    else:
        yield f"  a launch made trainings {length} epochs long: went on from the end at epoch {end}"
    del ends[trial]


def _verdict(record: dict[str, Any], others: dict[str, dict[str, Any]], objectives: Iterable[str]) -> str:
    size, position = record["rung_size"], record["rung_position"]
    where = f"place {position} of the {size} that had reached it; the best {record['rung_quota']} may go on"
    if record["kind"] == "promote":
        return f"rung at epoch {record['rung']}: by then {where}: went on after all"
    names = list(objectives)
    own = [record[name] for name in names]
    better = [
        other
        for other, theirs in others.items()
        if all(theirs[n] >= v for n, v in zip(names, own, strict=True)) and [theirs[n] for n in names] != own
    ]
    # A last epoch's rung decides nothing.
    went = {"continue": "went on", "stop": "stopped", "finish": "finished"}[record["decision"]]
    line = f"rung at epoch {record['rung']}: {where}: {went}"
    if not better:
        return line + "; no trial there was as good in every objective"
    more = f" and {len(better) - _NAMED} more" if len(better) > _NAMED else ""
    return line + f"; as good in every objective and better in one: {', '.join(better[:_NAMED])}{more}"
