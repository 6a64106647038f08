"""Figures and lists as text for readers; sentences that more than one command or section prints."""

from typing import Any

import pandas as pd

from rtune.config.catalog import ATTACK_LOSSES, ATTACKS
from rtune.config.sections import EvaluationConfig

from ..objectives import Objective
from .run_set import RunSet

# How many networks are named in a sentence that may be about any number of them.
_NAMED = 6


def figure(value: Any, name: str) -> str:
    """A metric as its row in `rtune.metrics` formats it; empty where it is missing."""
    return "" if pd.isna(value) else Objective(name).format(value)


def metric(name: str) -> str:
    """A metric's name for readers: `robust accuracy`."""
    return Objective(name, True).label


def attack(config: EvaluationConfig) -> str:
    """`PGD-20 (epsilon 0.031, step size 0.0078)`."""
    part = ATTACKS["ifgsm" if config.method == "pgd" and not config.random_start else config.method]
    steps = "" if part.steps is None else f"-{config.steps}"
    length = f", step size {config.step_size:.4g}" if part.steps_have_length else ""
    loss = "" if config.loss == "cross_entropy" else f", {ATTACK_LOSSES[config.loss].label} loss"
    return f"{part.label}{steps} (epsilon {config.epsilon:.4g}{length}{loss})"


def listed(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def figures(row: "pd.Series[Any]", objectives: list[Objective]) -> str:
    """`natural accuracy 0.94, robust accuracy 0.71`."""
    return ", ".join(f"{o.label} {figure(row[o.name], o.name)}" for o in objectives)


def images(run_set: RunSet, count: int) -> str:
    """`360`, or `90 of 360; ...` for a network whose training was cut short between two rungs."""
    whole = run_set.validation_images
    return f"{count:,}" if count >= whole else f"{count:,} of {whole:,}; its training was cut short"


def partly(rows: pd.DataFrame, whole: int) -> str | None:
    """Which networks of a table were measured on fewer than `whole` images; None where none was."""
    fewer = rows[rows["images"] < whole]
    if fewer.empty:
        return None
    some = [str(trial) for trial in fewer["trial"][:_NAMED]]
    more = f" and {len(fewer) - _NAMED} more" if len(fewer) > _NAMED else ""
    counts = listed([f"{count:,}" for count in sorted(fewer["images"].unique())])
    return (
        f"cut short: accuracies of {', '.join(some)}{more} are of {counts} validation images "
        f"instead of {whole:,}"
    )


def nothing(run_set: RunSet) -> str:
    """Why there is no network, without a full stop."""
    trials = pd.concat([run.trials for run in run_set.runs])
    if trials.empty:
        return "No trial has begun"
    if trials["status"].isin(["diverged", "failed"]).all():
        return (
            f"All {len(trials):,} trials failed or diverged"
            if len(trials) > 1
            else "The one trial failed or diverged"
        )
    return "No trial has trained an epoch yet"
