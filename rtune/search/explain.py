"""Why a trial was stopped or went on, rung by rung, from the run's log."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rtune.config import rungs
from rtune.config.spec import Spec
from rtune.errors import UnknownTrialError
from rtune.pareto.fronts import EXACT_DIMENSIONS, Fronts
from rtune.pareto.objectives import Objective, signed
from rtune.run import summary
from rtune.run.ledger import Launch, fold, validation_images

# The most trials that a line names.
_NAMED = 6


def explain(
    records: Sequence[dict[str, Any]], spec: Spec, trial: str, waiting: str = "running"
) -> Iterator[str]:
    """Lines that describe the course of a trial: each rung, each retry and its outcome.

    Args:
        records: the run's log, in order.
        spec: the run's search file.
        trial: id of the trial, such as `t0007`.
        waiting: the word for the status of a trial that has not ended.

    Raises:
        UnknownTrialError: the run has no such trial.
    """
    ledger = fold(records)
    if trial not in ledger.trials:
        known = list(ledger.own)
        there = f"the run has {known[0]} to {known[-1]}" if known else "the run has none yet"
        raise UnknownTrialError(f"--explain is {trial!r}; {there}")
    found = ledger.trials[trial]
    origin = f"suggested by: {found.sampler}" if found.of is None else f"repeats {found.of}"
    yield f"{trial}: {summary.settings(found.values)} ({origin}, seed {found.seed})"
    objectives = spec.objectives
    brackets = _brackets(spec)
    seen: dict[tuple[int, int], dict[str, Any]] = {}
    ends: dict[str, dict[str, Any]] = {}  # the search's own trials that finished a training
    for record in records:
        if record["kind"] == "epoch" and record["decision"] == "finish" and record["trial"] in ledger.own:
            ends[record["trial"]] = record
        if record["kind"] == "launch":
            yield from _lengthened(record, ends, trial, spec, seen)
        if record["kind"] == "retry" and record["trial"] == trial:
            yield f"  epoch {record['epoch']}: the worker failed; the trial was retried: {record['error']}"
        if record["kind"] not in ("epoch", "promote") or record.get("rung_quota") is None:
            continue
        others = seen.setdefault((rungs.bracket(record["trial"], brackets), record["rung"]), {})
        if record["kind"] == "epoch":
            others[record["trial"]] = record
        if record["trial"] == trial:
            yield "  " + _verdict(record, others, objectives)
    outcome = summary.outcome(found, summary.max_epochs(ledger, spec)).replace("running", waiting, 1)
    figures = found.error or ""
    if found.last is not None and found.has_network:
        figures = summary.figures(found.last, objectives) + _of_images(found.last, ledger.launches)
    yield f"  {outcome}: {figures}" if figures else f"  {outcome}"


def _brackets(spec: Spec) -> int:
    return spec.search.early_stopping.brackets if spec.search.early_stopping else 1


def _of_images(last: dict[str, Any] | None, launches: Sequence[Launch]) -> str:
    """The number of validation images measured, if it is less than all of them; else an empty text."""
    whole = validation_images(launches)
    return f" (of {last['images']} of {whole} validation images)" if last and last["images"] < whole else ""


def _lengthened(
    launch: dict[str, Any],
    ends: dict[str, dict[str, Any]],
    trial: str,
    spec: Spec,
    seen: dict[tuple[int, int], dict[str, Any]],
) -> Iterator[str]:
    """Lines on a launch that raised `max_epochs`: the former last epoch became a rung or an ordinary epoch.

    Moves the finished trials with shorter trainings from `ends` to their rungs in `seen`.
    """
    length = launch["max_epochs"]
    shorter = {name: record for name, record in ends.items() if record["epoch"] < length}
    for name in shorter:
        del ends[name]
    brackets, early = _brackets(spec), spec.search.early_stopping
    fronts: dict[tuple[int, int], Fronts] = {}
    for name, record in shorter.items():
        if record["epoch"] in launch["rungs"]:
            place = (rungs.bracket(name, brackets), record["epoch"])
            point = np.array(signed(record, spec.objectives), float)
            fronts.setdefault(place, Fronts()).add(name, point)
            seen.setdefault(place, {})[name] = record
    if trial not in shorter:
        return
    own = shorter[trial]
    about = f"  a launch raised max_epochs to {length}"
    place = (rungs.bracket(trial, brackets), own["epoch"])
    if place not in fronts or early is None:
        yield f"{about}: training continued from the former end at epoch {own['epoch']}"
        return
    size = len(seen[place])
    at_rung = {
        "decision": "wait",
        "rung": own["epoch"],
        "rung_position": fronts[place].position(trial),
        "rung_size": size,
        "rung_quota": rungs.quota(size, early.eta),
    }
    yield f"{about}: the former end became a rung"
    yield "  " + _verdict(own | at_rung, seen[place], spec.objectives)


def _verdict(
    record: dict[str, Any], others: dict[str, dict[str, Any]], objectives: Sequence[Objective]
) -> str:
    size, position = record["rung_size"], record["rung_position"]
    where = f"place {position} of the {size} trials there; the best {record['rung_quota']} may continue"
    if record["kind"] == "promote":
        return f"rung at epoch {record['rung']}: later {where}: promoted"
    own = signed(record, objectives)
    points = {name: signed(theirs, objectives) for name, theirs in others.items()}
    better = [
        name
        for name, point in points.items()
        if point != own and all(t >= v for t, v in zip(point, own, strict=True))
    ]
    # "finish": a rung at the last epoch stops no trial.
    went = {"continue": "continued", "stop": "stopped", "finish": "finished", "wait": "waited"}[
        record["decision"]
    ]
    line = f"rung at epoch {record['rung']}: {where}: {went}"
    if not better:
        return (
            line
            + "; no trial there was as good in every objective"
            + _tie(record["trial"], position, points, len(objectives))
        )
    more = f" and {len(better) - _NAMED} more" if len(better) > _NAMED else ""
    return line + f"; as good in every objective and better in one: {', '.join(better[:_NAMED])}{more}"


def _tie(trial: str, position: int, points: dict[str, tuple[float, ...]], objectives: int) -> str:
    """How the order within the first front gave a non-dominated trial its place.

    Empty for a front of one, and for the places of the first versions, which had another order.
    """
    fronts = Fronts()
    for name, point in points.items():
        fronts.add(name, np.array(point, float))
    front = len(fronts.ranked()[0])
    if front == 1 or fronts.position(trial) != position:
        return ""
    others = "another one" if front == 2 else f"{front - 1} others"
    by = "hypervolume contribution" if objectives <= EXACT_DIMENSIONS else "distance to the nearest other"
    return f", as for {others}; by {by} it has place {position} of these {front}"
