"""What a ledger amounts to: counts, hypervolume, time left. Shared by the live view and `status`."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.front import hypervolume
from rtune.ledger import Ledger, Trial
from rtune.spec import Spec


def trials(ledger: Ledger, spec: Spec) -> int:
    """Trials of the whole run, as the newest launch has it."""
    return ledger.launches[-1].trials if ledger.launches else spec.trials


def max_epochs(ledger: Ledger, spec: Spec) -> int:
    """Length of a full training, as the newest launch has it."""
    return ledger.ends(spec.max_epochs)[-1]


def counts(ledger: Ledger, trials: int) -> dict[str, int]:
    """Trials by status; `waiting` are those not begun."""
    by_status = Counter(trial.status for trial in list(ledger.trials.values()))
    return {**by_status, "waiting": max(0, trials - len(ledger.trials))}


def reached(ledger: Ledger, objectives: Sequence[str]) -> np.ndarray:
    """Objectives (n, objectives) of the networks that trials have or ended with."""
    points = [p for trial in list(ledger.trials.values()) if (p := trial.objectives(objectives))]
    return np.array(points).reshape(-1, len(objectives))


def run_hypervolume(ledger: Ledger, objectives: Sequence[str]) -> float:
    return hypervolume(reached(ledger, objectives))


def seconds_left(ledger: Ledger, trials: int, max_epochs: int, concurrency: int) -> float | None:
    """Expected seconds to the end of the search; None before the first epoch.

    Trials to come are taken to be as long as those that ended, on average, and epochs as those
    already run.
    """
    known = list(ledger.trials.values())
    epochs = [record for trial in known for record in list(trial.epochs)]
    if not epochs:
        return None
    ended = [trial.epoch for trial in known if trial.status != "running"]
    length = float(np.mean(ended)) if ended else max_epochs / 2
    to_come = max(0, trials - len(known)) * length
    under_way = sum(max(1.0, length - t.epoch) for t in known if t.status == "running")
    pace = float(np.mean([(e["train_seconds"] or 0) + (e["eval_seconds"] or 0) for e in epochs]))
    return (to_come + under_way) * pace / max(1, concurrency)


def unstopped_epochs(ledger: Ledger, max_epochs: int) -> int:
    """Epochs that the trials so far would have cost had none been stopped."""
    return sum(max_epochs if t.status == "stopped" else t.epoch for t in list(ledger.trials.values()))


def saving(ledger: Ledger, max_epochs: int) -> str:
    """`84 epochs run; without early stopping these trials would have taken 144, so 42 % were saved`."""
    run, unstopped = sum(t.epoch for t in list(ledger.trials.values())), unstopped_epochs(ledger, max_epochs)
    if run == unstopped:
        return f"{run} epochs run, none saved by early stopping"
    share = round(100 * (1 - run / unstopped))
    return (
        f"{run} epochs run; without early stopping these trials would have taken {unstopped}: {share} % saved"
    )


def settings(values: dict[str, Any]) -> str:
    """Searched values in a line: `enresnet gamma=0.12 rgsm lambda_1=0.3`."""
    parts = []
    for path, value in values.items():
        if isinstance(value, str):
            parts.append(value)
        else:
            number = f"{value:.3g}" if isinstance(value, float) else str(value)
            parts.append(f"{path.split('.')[-1]}={number}")
    return " ".join(parts)


def size(count: int) -> str:
    """Bytes as `34.5 MB`."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def clock(seconds: float) -> str:
    """1:23:45, or 3:45 below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def outcome(trial: Trial, max_epochs: int) -> str:
    """`stopped at epoch 3/12` and the like."""
    epoch = trial.epoch if trial.ended_epoch is None else trial.ended_epoch
    preposition = {"diverged": "in", "failed": "in"}.get(trial.status, "at")
    return f"{trial.status} {preposition} epoch {epoch}/{max_epochs}"
