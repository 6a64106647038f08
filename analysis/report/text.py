"""What a report says in sentences."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.front import knee
from analysis.objectives import Objective, values
from analysis.report.run_set import RunSet
from rtune.config.sections import EvaluationConfig
from rtune.run import schema

# The share of the best robust accuracy that a network must keep to be named as the sparsest useful one.
_KEPT = 0.9
# So many networks are named where there may be any number.
_NAMED = 6


def figure(value: Any, name: str) -> str:
    """A metric: three places of a fraction, whole numbers with commas; empty where it is missing."""
    if pd.isna(value):
        return ""
    if Objective(name, True).is_fraction:
        return f"{value:.3f}"
    return f"{value:,.0f}" if name in ("macs", "parameters") else f"{value:.3g}"


def attack(config: EvaluationConfig) -> str:
    """`PGD-20 (epsilon 0.031, step size 0.0078)`."""
    name = "PGD" if config.random_start else "IFGSM"
    return f"{name}-{config.steps} (epsilon {config.epsilon:.4g}, step size {config.step_size:.4g})"


def listed(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def figures(row: "pd.Series[Any]", objectives: list[Objective]) -> str:
    """`natural accuracy 0.94, robust accuracy 0.71`."""
    return ", ".join(f"{o.label} {figure(row[o.name], o.name)}" for o in objectives)


def findings(run_set: RunSet) -> list[str]:
    """What was found, in three sentences; none without a network."""
    if run_set.networks.empty:
        return []
    trials = sum(len(run.trials) for run in run_set.runs)
    again = sum(int((run.trials["sampler"] == schema.REPLICATE).sum()) for run in run_set.runs)
    begun = f"{trials - again:,} trial{'s' * (trials - again != 1)}"
    begun += f" and {again:,} replicate{'s' * (again != 1)} of them" if again else ""
    count, total = len(run_set.members), len(run_set.networks)
    is_, it = ("is", "it") if count == 1 else ("are", "them")
    said = [
        f"Of {begun} {total:,} gave a network, and {count:,} of those {is_} on "
        f"the front: no other is at least as good as {it} in {listed([o.label for o in run_set.objectives])} "
        "and better in one."
    ]
    middle = knee(run_set.networks, run_set.objectives)
    if middle is not None and count > 1:
        said.append(
            f"The best compromise among them, the knee, is {middle['trial']} "
            f"({middle['kind']}) with {figures(middle, run_set.objectives)}."
        )
    said += _extremes(run_set)
    return said


def images(run_set: RunSet, count: int) -> str:
    """`360`, or `90 of 360` for a network that was cut short between rungs."""
    whole = run_set.validation_images
    return f"{count:,}" if count >= whole else f"{count:,} of {whole:,}; its training was cut short"


def partly(rows: pd.DataFrame, whole: int) -> str | None:
    """Which accuracies of a table of networks are of fewer images than there are; None where none is."""
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
    """Why there is no network."""
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


def _extremes(run_set: RunSet) -> list[str]:
    """The best in each objective."""
    points = values(run_set.members, run_set.objectives)
    if len(points) < 2:
        row = run_set.members.iloc[0]
        return [f"It is {row['trial']} with {figures(row, run_set.objectives)}."]
    named = [
        f"{o.label} {figure(run_set.members[o.name].iloc[i], o.name)} ({run_set.members['trial'].iloc[i]})"
        for o, i in zip(run_set.objectives, points.argmax(axis=0), strict=True)
    ]
    return [f"The best that can be had of each: {listed(named)}."]


def sparsest(run_set: RunSet) -> str | None:
    """The sparsest network that keeps most of the best robust accuracy; None where either is no objective."""
    sparsities = [
        o.name for o in run_set.objectives if o.name.endswith("sparsity") or o.name.startswith("remov")
    ]
    if "robust_accuracy" not in run_set.names or not sparsities or len(run_set.members) < 2:
        return None
    top = run_set.members["robust_accuracy"].max()
    kept = run_set.members[run_set.members["robust_accuracy"] >= _KEPT * top]
    row = kept.loc[kept[sparsities[0]].idxmax()]
    return (
        f"At {100 * _KEPT:.0f} % of the best robust accuracy or more, the sparsest is {row['trial']}: "
        f"{figures(row, run_set.objectives)}."
    )


def _duration(seconds: float) -> str:
    """`5.1 hours`, `12 minutes`; seconds below two minutes."""
    if seconds >= 7200:
        return f"{seconds / 3600:,.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def saved(run_set: RunSet) -> str:
    """What the trials cost, and what early stopping saved."""
    spent = [
        float(one.rows[name].sum()) for one in run_set.runs for name in ("train_seconds", "eval_seconds")
    ]
    seconds = sum(spent)
    run, unstopped, more = 0, 0, 0
    for one in run_set.runs:
        longest = max((launch.max_epochs for launch in one.launches), default=one.folder.spec.max_epochs)
        own = one.trials[one.trials["sampler"] != schema.REPLICATE]
        run += int(own["epochs"].sum())
        more += int(one.trials["epochs"].sum() - own["epochs"].sum())
        unstopped += int(np.where(own["status"] == "stopped", longest, own["epochs"]).sum())
    added = f" and {more:,} more by replicates" if more else ""
    took = f"{_duration(seconds)} of training and evaluation (added up over trials)"
    text = f"{run:,} epoch{'s were' if run != 1 else ' was'} run{added}, {took}"
    if unstopped <= run:
        return text + "; early stopping saved none."
    return (
        f"{text}; without early stopping these trials would have taken {unstopped:,} epochs, so "
        f"{100 * (1 - run / unstopped):.0f} % were saved."
    )
