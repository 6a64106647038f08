"""What is known of one network, as names and texts: for `rtune best` and for the page."""

import shlex
from typing import Any

import pandas as pd

from rtune.run import schema
from rtune.run.checkpoint_file import path_of
from rtune.storage.places import Place

from .run_set import RunSet


def describe(run_set: RunSet, row: "pd.Series[Any]") -> list[tuple[str, str]]:
    """Name and text: its origin and size, its checkpoint, and the commands that export and evaluate it."""
    run = run_set.runs[row["run"]]
    trial = own_name(run_set, row)
    where = shlex.quote(str(run.folder.place))
    return [
        ("kind", str(row["kind"])),
        (
            "status",
            f"{row['status']} at epoch {row['epoch']}, seed {row['seed']}, {_origin(row['sampler'])}",
        ),
        ("size", f"{4 * row['parameters'] / 1000:,.1f} kB of float32 parameters, without removable channels"),
        ("checkpoint", str(checkpoint(run_set, row))),
        ("export command", f"rtune export {where} {trial}"),
        ("evaluation command", f"rtune evaluate {where} --trials {trial}"),
        ("replication command", f"rtune replicate {where} --trials {trial}"),
    ]


def own_name(run_set: RunSet, row: "pd.Series[Any]") -> str:
    """The trial's name within its run."""
    trial = str(row["trial"])
    return trial.removeprefix(f"{run_set.runs[row['run']].name}/") if len(run_set.runs) > 1 else trial


def checkpoint(run_set: RunSet, row: "pd.Series[Any]") -> Place:
    """Where the network's checkpoint is, if it was kept."""
    folder = run_set.runs[row["run"]].folder.trial_folder(own_name(run_set, row))
    where: Place = path_of(folder, int(row["epoch"]))
    return where


def _origin(sampler: str) -> str:
    return {schema.REPLICATE: "a replicate", "point": "a point of the search file"}.get(
        sampler, f"suggested by {sampler}"
    )
