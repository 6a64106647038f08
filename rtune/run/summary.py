"""Summary of a ledger: counts, hypervolume, time left. Used by the live view, `status` and reports."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from rtune.config.spec import Spec
from rtune.pareto.objectives import Objective, front_hypervolume, references
from rtune.run.ledger import Ledger, Trial

# The most stopped trials that are named per rung.
_NAMED = 6


def trials(ledger: Ledger, spec: Spec) -> int:
    """Number of trials of the whole run, according to the newest launch."""
    return ledger.launches[-1].trials if ledger.launches else spec.trials


def max_epochs(ledger: Ledger, spec: Spec) -> int:
    """Epochs of a full training, according to the newest launch."""
    return ledger.ends(spec.max_epochs)[-1]


def counts(ledger: Ledger, trials: int) -> dict[str, int]:
    """Numbers of the search's own trials by status; `waiting` are those not started."""
    by_status = Counter(trial.status for trial in list(ledger.own.values()))
    return {**by_status, "waiting": max(0, trials - len(ledger.own))}


def replicates(ledger: Ledger) -> dict[str, int]:
    """Numbers of replicates by status; `waiting` are those without an epoch."""
    found = [trial for trial in list(ledger.trials.values()) if trial.of is not None]
    return Counter("waiting" if t.status == "running" and not t.epoch else t.status for t in found)


def reached(ledger: Ledger, objectives: Sequence[Objective]) -> np.ndarray:
    """Objectives (networks, objectives), signed, of the newest network of each trial that has one."""
    points = [p for trial in list(ledger.trials.values()) if (p := trial.point(objectives))]
    return np.array(points).reshape(-1, len(objectives))


def run_hypervolume(ledger: Ledger, objectives: Sequence[Objective]) -> float:
    """Hypervolume of the networks so far; reference point as in `rtune.pareto.objectives.references`."""
    return front_hypervolume(reached(ledger, objectives), objectives)


def figures(record: dict[str, Any], objectives: Sequence[Objective], gap: str = ", ") -> str:
    """An epoch's objectives as text: `robust_accuracy 0.913, macs 1,204,530`."""
    return gap.join(f"{o.name} {o.format(record[o.name])}" for o in objectives)


def volume(value: float) -> str:
    """A hypervolume as text. If all objectives are fractions, it lies in [0, 1]."""
    return f"{value:.3f}" if value < 1000 else f"{value:,.0f}"


def hypervolume_reference(ledger: Ledger, objectives: Sequence[Objective]) -> str:
    """The reference point as text, ` (reference: MACs 1,204,530)`; empty if it is 0 everywhere."""
    points = reached(ledger, objectives)
    if not len(points) or all(o.reference == 0 and o.maximise for o in objectives):
        return ""
    worst = references(points, objectives)
    texts = [f"{o.label} {o.format(o.sign * w)}" for o, w in zip(objectives, worst, strict=True)]
    return f" (reference: {', '.join(texts)})"


def seconds_left(
    ledger: Ledger, trials: int, max_epochs: int, concurrency: int, replicates_only: bool = False
) -> float | None:
    """Expected seconds until the search and its replicates end; None before any epoch.

    It is assumed that trials have on average as many epochs as those that have ended, and that epochs take as
    long as those so far.

    Args:
        ledger: the run.
        trials: number of trials of the whole run.
        max_epochs: epochs of a full training.
        concurrency: trials that train at once.
        replicates_only: count the replicates only.
    """
    known = list(ledger.trials.values())
    epochs = [record for trial in known for record in list(trial.epochs)]
    if not epochs:
        return None
    left = float(sum(t.length - t.epoch for t in known if t.length is not None and t.status == "running"))
    if not replicates_only:
        left += _own_epochs_left(ledger, trials, max_epochs)
    pace = float(np.mean([(e["train_seconds"] or 0) + (e["eval_seconds"] or 0) for e in epochs]))
    return left * pace / max(1, concurrency)


def _own_epochs_left(ledger: Ledger, trials: int, max_epochs: int) -> float:
    known = list(ledger.own.values())
    ended = [trial.epoch for trial in known if trial.status != "running"]
    length = float(np.mean(ended)) if ended else max_epochs / 2
    to_come = max(0, trials - len(known)) * length
    return to_come + sum(max(1.0, length - t.epoch) for t in known if t.status == "running")


def unstopped_epochs(ledger: Ledger, max_epochs: int) -> int:
    """Epochs that the search's own trials so far would have run without early stopping."""
    return sum(max_epochs if t.status == "stopped" else t.epoch for t in list(ledger.own.values()))


def saving(ledger: Ledger, max_epochs: int) -> str:
    """`84 epochs run; without early stopping these trials would have taken 144: 42 % saved`."""
    run, unstopped = sum(t.epoch for t in list(ledger.own.values())), unstopped_epochs(ledger, max_epochs)
    again = sum(trial.epoch for trial in list(ledger.trials.values())) - run
    more = f"; {again} more by replicates" if again else ""
    epochs = f"{run} epoch{'s' * (run != 1)} run"
    if run == unstopped:
        return f"{epochs}, none saved by early stopping{more}"
    share = round(100 * (1 - run / unstopped))
    return (
        f"{epochs}; without early stopping these trials would have taken {unstopped}: {share} % saved{more}"
    )


def stops(ledger: Ledger) -> str | None:
    """Number and first ids of the search's own stopped trials per rung, as text; None if there are none."""
    at: dict[int, list[str]] = {}
    for trial in list(ledger.own.values()):
        if trial.status == "stopped":
            at.setdefault(trial.epoch, []).append(trial.id)
    if not at:
        return None
    texts = []
    for epoch, names in sorted(at.items()):
        first = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        texts.append(f"{len(names)} at epoch {epoch} ({first})")
    return f"stopped: {'; '.join(texts)}; --explain ID says why"


def settings(values: dict[str, Any]) -> str:
    """Searched values as one line: `enresnet gamma=0.12 rgsm lambda_1=0.3`."""
    parts = []
    for path, value in values.items():
        if isinstance(value, str):
            parts.append(value)
        else:
            number = f"{value:.3g}" if isinstance(value, float) else str(value)
            parts.append(f"{path.split('.')[-1]}={number}")
    return " ".join(parts)


def size(count: int) -> str:
    """A number of bytes as text: `34.5 MB`."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def clock(seconds: float) -> str:
    """Seconds as text: 1:23:45, or 3:45 below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def length(trial: Trial, max_epochs: int) -> int:
    """Number of epochs of a trial if it is not stopped: `max_epochs`, or the length of a replicate."""
    return max_epochs if trial.length is None else trial.length


def outcome(trial: Trial, max_epochs: int) -> str:
    """Status and epoch of a trial as text: `stopped at epoch 3/12`."""
    epoch = trial.epoch if trial.ended_epoch is None else trial.ended_epoch
    preposition = {"diverged": "in", "failed": "in"}.get(trial.status, "at")
    return f"{trial.status} {preposition} epoch {epoch}/{length(trial, max_epochs)}"
