"""All that is known of one network: what a person who wants to use it asks."""

import shlex
from itertools import pairwise
from typing import Any

import pandas as pd

from analysis import channels
from analysis.evaluations import evaluations
from analysis.objectives import number
from analysis.report import plot_data
from analysis.report.run_set import RunSet
from analysis.seeds import replicates
from rtune.run import schema
from rtune.run.checkpoint_file import path_of

# Reading a checkpoint takes longer the larger the networks; a front beyond this has no histograms past it.
MOST_HISTOGRAMS = 200


def facts(run_set: RunSet, row: "pd.Series[Any]") -> list[tuple[str, str]]:
    """Name and text: its size, where its checkpoint lies; the commands that attack, repeat and export it."""
    run = run_set.runs[row["run"]]
    trial = _own(run_set, row)
    where = shlex.quote(str(run.folder.place))
    return [
        ("kind", str(row["kind"])),
        (
            "status",
            f"{row['status']} at epoch {row['epoch']}, seed {row['seed']}, {_origin(row['sampler'])}",
        ),
        ("size", f"{4 * row['parameters'] / 1000:,.1f} kB of float32 parameters, removable channels cut out"),
        ("checkpoint", str(_checkpoint(run_set, row))),
        ("export command", f"rtune export {where} {trial}"),
        ("evaluation command", f"rtune evaluate {where} --trials {trial}"),
        ("replication command", f"rtune replicate {where} --trials {trial}"),
    ]


def _origin(sampler: str) -> str:
    return {schema.REPLICATE: "a replicate", "point": "a point of the search file"}.get(
        sampler, f"suggested by {sampler}"
    )


def members(run_set: RunSet) -> dict[str, dict[str, Any]]:
    """Trial -> curves, rows of text and histogram of channel norms, for each member of the front."""
    curves = plot_data.curves(run_set)
    attacked = _attacked(run_set)
    seeds = _seeds(run_set)
    found: dict[str, dict[str, Any]] = {}
    for count, (_, row) in enumerate(run_set.members.iterrows()):
        trial = str(row["trial"])
        rows = [
            *facts(run_set, row),
            *seeds.get(trial, []),
            *attacked.get((row["run"], _own(run_set, row)), []),
        ]
        histogram = None
        if count < MOST_HISTOGRAMS:
            histogram, why = _histogram(run_set, row)
            rows += [("channel norms", why)] if why else []
        found[trial] = {
            "curves": curves.get(trial, {"epoch": [], "images": []}),
            "rows": rows,
            "histogram": histogram,
        }
    return found


def _own(run_set: RunSet, row: "pd.Series[Any]") -> str:
    """The trial's name within its run."""
    trial = str(row["trial"])
    return trial.removeprefix(f"{run_set.runs[row['run']].name}/") if len(run_set.runs) > 1 else trial


def _checkpoint(run_set: RunSet, row: "pd.Series[Any]") -> Any:
    folder = run_set.runs[row["run"]].folder.trial_folder(_own(run_set, row))
    return path_of(folder, int(row["epoch"]))


def _histogram(run_set: RunSet, row: "pd.Series[Any]") -> tuple[dict[str, Any] | None, str]:
    norms, why = channels.channel_norms(_checkpoint(run_set, row))
    if norms is None:
        return None, why or "unknown"
    made = channels.histogram(norms)
    labels = [f"{low:.2g} to {high:.2g}" for low, high in pairwise(made.edges)]
    return {"labels": labels, "counts": made.counts.tolist(), "zero": made.zero, "total": made.total}, ""


def _attacked(run_set: RunSet) -> dict[tuple[int, str], list[tuple[str, str]]]:
    """(run, trial) -> a row for each evaluation of the network it has now."""
    now = {(row["run"], _own(run_set, row)): row["epoch"] for _, row in run_set.members.iterrows()}
    found: dict[tuple[int, str], list[tuple[str, str]]] = {}
    for i, run in enumerate(run_set.runs):
        for record in evaluations(run).to_dict("records"):
            key = (i, str(record["trial"]))
            if now.get(key) != record["epoch"]:
                continue
            spread = f" ± {record['accuracy_std']:.3f}" if record["noise_draws"] > 1 else ""
            radius = "" if pd.isna(record["epsilon"]) else f", epsilon {record['epsilon']:.4g}"
            text = f"{record['accuracy']:.3f}{spread} of {record['images']:,} images{radius}"
            found.setdefault(key, []).append((f"{record['attack']}, {record['split']} split", text))
    return found


def _seeds(run_set: RunSet) -> dict[str, list[tuple[str, str]]]:
    """Trial -> mean and spread of each objective over the seeds of its setting, where it has several."""
    groups = replicates(run_set.networks, run_set.searched)
    wanted = set(groups[run_set.members.index])
    found: dict[str, list[tuple[str, str]]] = {}
    rows = run_set.networks[groups.isin(wanted)]
    for _, part in rows.groupby(groups[rows.index]):
        if len(part) < 2:
            continue
        spread = [
            f"{o.label} {number(part[o.name].mean())} ± {number(part[o.name].std())}"
            for o in run_set.objectives
        ]
        text = f"{', '.join(spread)} over {len(part)} seeds ({', '.join(part['trial'])})"
        for trial in part["trial"]:
            found[str(trial)] = [("seeds", text)]
    return found
