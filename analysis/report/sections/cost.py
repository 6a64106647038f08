"""Section: what the search cost, and what became of its trials."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rtune.run import schema

from ...front import hypervolume
from ...objectives import values
from ..facts import Facts
from ..run_set import RunSet
from ..section import Content, Section

# Networks that are compared with the front in one operation.
_TOGETHER = 500


def content(facts: Facts) -> Content:
    run_set = facts.run_set
    context = {
        "drawn": len(run_set.networks) > 0,
        "saved": saved(run_set),
        "counts": list(_counts(run_set).items()),
        "broken": _broken(run_set),
        "notes": run_set.notes,
    }
    data = {"hypervolume": _volumes(run_set), "ends": _ends(run_set)} if context["drawn"] else {}
    return Content(context, data)


def _duration(seconds: float) -> str:
    """`5.1 hours`, `12 minutes`; seconds below two minutes."""
    if seconds >= 7200:
        return f"{seconds / 3600:,.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def saved(run_set: RunSet) -> str:
    """Epochs and time of all trials, and the share of epochs that early stopping saved."""
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
    took = f"{_duration(seconds)} of training and evaluation (summed over trials)"
    text = f"{run:,} epoch{'s were' if run != 1 else ' was'} run{added}, {took}"
    if unstopped <= run:
        return text + "; early stopping saved none."
    return (
        f"{text}; without early stopping these trials would have taken {unstopped:,} epochs, so "
        f"{100 * (1 - run / unstopped):.0f} % were saved."
    )


def _counts(run_set: RunSet) -> dict[str, int]:
    """Status -> number of trials; `waiting` are those that have not begun."""
    counts = Counter(status for run in run_set.runs for status in run.trials["status"])
    found = {status: counts[status] for status in schema.STATUSES if counts[status]}
    waiting = sum(
        max(0, run.wanted - int((run.trials["sampler"] != schema.REPLICATE).sum())) for run in run_set.runs
    )
    return found | ({"waiting": waiting} if waiting else {})


def _broken(run_set: RunSet) -> list[str]:
    """A line for each trial that diverged or failed."""
    return [
        f"{trial} {status}: {error}"
        for run in run_set.runs
        for trial, status, error in run.trials.loc[
            run.trials["error"].fillna("") != "", ["trial", "status", "error"]
        ].itertuples(index=False)
    ]


def _volumes(run_set: RunSet) -> dict[str, list[float]]:
    """Hypervolume of the networks whose trials had ended by then, against epochs and hours of all trials.

    Only the points where it changes; the last value is the hypervolume of the front.
    """
    # Of millions of rows only what is needed is copied: when each was, and what it took.
    trained = [run.rows["robust_accuracy"].notna().to_numpy() for run in run_set.runs]
    when = _column(run_set, trained, "time").to_numpy("datetime64[ms]").astype(np.int64)
    seconds = sum(
        _column(run_set, trained, name).to_numpy(float, na_value=0.0)
        for name in ("train_seconds", "eval_seconds")
    )
    order = np.argsort(when, kind="stable")
    spent, when = np.cumsum(np.asarray(seconds)[order]) / 3600, when[order]
    last = run_set.networks.dropna(subset=run_set.names).sort_values("time", kind="stable")
    ends_at = last["time"].to_numpy("datetime64[ms]").astype(np.int64)
    steps = _steps(last, run_set)
    # An epoch that is as late as another is counted with it.
    at = [int(np.searchsorted(when, ends_at[i], side="right")) - 1 for i, _ in steps]
    total = len(when)
    volume = [v for _, v in steps]
    return {
        "epochs": [0, *(i + 1 for i in at), total],
        "hours": [
            0.0,
            *(round(float(spent[i]), 5) for i in at),
            round(float(spent[-1]), 5) if total else 0.0,
        ],
        "volume": [0.0, *(round(v, 5) for v in volume), round(volume[-1], 5) if volume else 0.0],
    }


def _column(run_set: RunSet, trained: Sequence[np.ndarray], name: str) -> "pd.Series[Any]":
    """A column of those rows of the runs that have metrics."""
    return pd.concat(
        [run.rows[name][there] for run, there in zip(run_set.runs, trained, strict=True)], ignore_index=True
    )


def _steps(last: pd.DataFrame, run_set: RunSet, most: int = 400) -> list[tuple[int, float]]:
    """(row, hypervolume from there on) where it grows; evenly thinned to `most` steps."""
    if last.empty:
        return []
    found = values(last, run_set.objectives)
    archive = np.empty((0, found.shape[1]))
    grows = []
    for first in range(0, len(found), _TOGETHER):
        block = found[first : first + _TOGETHER]
        # A point that is dominated now stays so, which settles most points of a long run.
        pairs = zip(archive.T[:, :, None], block.T, strict=True)
        beaten = np.logical_and.reduce([a >= b for a, b in pairs]).any(axis=0)
        for i in np.flatnonzero(~beaten):
            point = block[i]
            if (archive >= point).all(axis=1).any():
                continue
            archive = np.vstack([archive[~(point >= archive).all(axis=1)], point])
            grows.append((first + int(i), archive))
    chosen = sorted({round(k) for k in np.linspace(0, len(grows) - 1, min(most, len(grows)))})
    signs = np.array([1.0 if o.maximise else -1.0 for o in run_set.objectives])
    zero = np.array([run_set.reference[o.name] for o in run_set.objectives]) * signs
    return [(grows[k][0], hypervolume(grows[k][1] - zero)) for k in chosen]


def _ends(run_set: RunSet) -> dict[str, list[int]]:
    """Number of trials by their last epoch."""
    lengths = pd.concat([run.trials["epochs"] for run in run_set.runs])
    counted = lengths[lengths > 0].value_counts().sort_index()
    return {"epoch": [int(e) for e in counted.index], "count": [int(c) for c in counted]}


SECTION = Section.of_module(__file__, "Cost", "What it cost", content)
