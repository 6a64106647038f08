"""What the page's plots are drawn from, as plain JSON values."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.front import hypervolume, knee
from analysis.objectives import Objective, values
from analysis.report.run_set import RunSet
from rtune.config.ranges import Choice
from rtune.run import schema

# Networks beside the front that are drawn, and plots of pairs.
MOST_POINTS, MOST_PAIRS = 3000, 6
_CURVES = ("natural_accuracy", "robust_accuracy", "channel_sparsity", "weight_sparsity")


def shown(run_set: RunSet) -> pd.DataFrame:
    """The networks that are drawn: all of the front, and of the others a sample if they are many."""
    others = run_set.networks.drop(index=run_set.members.index)
    if len(others) > MOST_POINTS:
        others = others.sample(MOST_POINTS, random_state=0).sort_index()
    return pd.concat([run_set.members, others])


def pairs(objectives: Sequence[Objective]) -> list[tuple[str, str]]:
    """Axes (x, y) of the scatter plots: each pair of objectives; of one objective, it and the parameters."""
    names = [objective.name for objective in objectives]
    if len(names) == 1:
        return [("parameters" if names[0] != "parameters" else "macs", names[0])]
    found = [(b, a) for a, b in itertools.combinations(names, 2)]
    return found[:MOST_PAIRS]


def undrawn(objectives: Sequence[Objective]) -> str:
    """A sentence on pairs of objectives that have no plot."""
    count = math.comb(len(objectives), 2)
    if count <= MOST_PAIRS:
        return ""
    return f"{MOST_PAIRS} of the {count} pairs of objectives are drawn; --objectives names others."


def points(
    run_set: RunSet, drawn: pd.DataFrame, uncertain: set[str], derived: dict[str, pd.Series]
) -> dict[str, Any]:
    """Networks as columns: id, kind, whether on the front, metrics, settings and what follows from them."""
    kinds = sorted(run_set.networks["kind"].unique())
    on = drawn.index.isin(run_set.members.index)
    metrics = [name for name in schema.METRICS if name in drawn]
    settings = {path: drawn[path] for path in run_set.searched} | {
        name: column.reindex(drawn.index) for name, column in derived.items()
    }
    return {
        "id": drawn["trial"].tolist(),
        "kind": drawn["kind"].map({kind: i for i, kind in enumerate(kinds)}).tolist(),
        "front": on.astype(int).tolist(),
        "noise": [int(trial in uncertain) for trial in drawn["trial"]],
        "metrics": {name: plain(drawn[name]) for name in metrics} | {"epoch": plain(drawn["epoch"])},
        "values": {path: plain(column) for path, column in settings.items()},
    }


def plain(column: "pd.Series[Any]") -> list[Any]:
    """A column's values for JSON: six digits of a number, null for what is missing."""
    if pd.api.types.is_bool_dtype(column):
        return [str(value) for value in column]
    if pd.api.types.is_numeric_dtype(column):
        found = column.to_numpy(float, na_value=np.nan)
        return [None if np.isnan(v) else int(v) if v == int(v) else float(f"{v:.6g}") for v in found]
    return [
        None if pd.isna(value) else value if isinstance(value, int | float) else str(value)
        for value in column
    ]


def axes(run_set: RunSet, drawn: pd.DataFrame) -> list[dict[str, Any]]:
    """Axes of the parallel coordinates: searched values that differ, then the objectives."""
    found: list[dict[str, Any]] = []
    for path in run_set.searched:
        column = drawn[path].dropna()
        if column.nunique() < 2:
            continue
        domain = next(
            (d for run in run_set.runs if (d := run.folder.spec.ranges.get(path)) is not None), None
        )
        if isinstance(domain, Choice) or not pd.api.types.is_numeric_dtype(column):
            found.append({"name": path, "choices": sorted(map(_text, column.unique()))})
        else:
            numbers = column.to_numpy(float)
            log = is_log(run_set, path) and bool(numbers.min() > 0)
            found.append(
                {"name": path, "log": log, "low": float(numbers.min()), "high": float(numbers.max())}
            )
    for objective in run_set.objectives:
        numbers = drawn[objective.name].to_numpy(float)
        found.append(
            {
                "name": objective.name,
                "log": False,
                "low": float(np.nanmin(numbers)),
                "high": float(np.nanmax(numbers)),
            }
        )
    return found


def is_log(run_set: RunSet, path: str) -> bool:
    """Whether a value is searched on a log scale."""
    return any(getattr(run.folder.spec.ranges.get(path), "log", False) for run in run_set.runs)


def cost(run_set: RunSet) -> dict[str, list[float]]:
    """Hypervolume of the networks that had their last epoch by then, against epochs and hours of all trials.

    Thinned to the steps that change it; the last is the front's own hypervolume.
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
    """A column of the runs' rows that have figures."""
    return pd.concat(
        [run.rows[name][there] for run, there in zip(run_set.runs, trained, strict=True)], ignore_index=True
    )


# Networks that are held against the front at once.
_TOGETHER = 500


def _steps(last: pd.DataFrame, run_set: RunSet, most: int = 400) -> list[tuple[int, float]]:
    """(row, hypervolume from there on) where it grows; beyond `most` steps only some of them."""
    if last.empty:
        return []
    found = values(last, run_set.objectives)
    archive = np.empty((0, found.shape[1]))
    grows = []
    for first in range(0, len(found), _TOGETHER):
        block = found[first : first + _TOGETHER]
        # What is dominated already stays so; most of a long run is.
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


def ends(run_set: RunSet) -> dict[str, list[int]]:
    """How many trials ended after which epoch."""
    lengths = pd.concat([run.trials["epochs"] for run in run_set.runs])
    counted = lengths[lengths > 0].value_counts().sort_index()
    return {"epoch": [int(e) for e in counted.index], "count": [int(c) for c in counted]}


def curves(run_set: RunSet) -> dict[str, dict[str, list[Any]]]:
    """Trial -> what each front member reached after each epoch, and on how many images."""
    names = list(dict.fromkeys([*(o.name for o in run_set.objectives if o.is_fraction), *_CURVES]))
    found = {}
    for i, run in enumerate(run_set.runs):
        own = run_set.members[run_set.members["run"] == i]
        prefix = f"{run.name}/" if len(run_set.runs) > 1 else ""
        rows = run.rows[run.rows["trial"].isin(own["trial"].str.removeprefix(prefix))]
        for trial, part in rows[rows["robust_accuracy"].notna()].groupby("trial", observed=True):
            found[f"{prefix}{trial}"] = {name: plain(part[name]) for name in ["epoch", "images", *names]}
    return found


def of_knee(run_set: RunSet) -> str | None:
    """The trial that is shown first."""
    found = knee(run_set.networks, run_set.objectives)
    return None if found is None else str(found["trial"])


def _text(value: Any) -> str:
    return str(value)
