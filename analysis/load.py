"""Runs as tables."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from rtune import schema
from rtune.ledger import Trial, fold
from rtune.runfolder import RunFolder, find


def load(run: str | Path | RunFolder) -> pd.DataFrame:
    """All rows of a run, one a trial and epoch, in the columns of `rtune.schema`.

    `status` is the trial's as of now, on each of its rows. A trial that diverged or failed has
    a last row for the epoch it broke in, with `error` and without metrics. The searched values
    stand under their dotted paths, empty where they do not apply.

    Raises:
        RunError: `run` is no run folder.
    """
    frame: pd.DataFrame = table(run).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return frame


def table(run: str | Path | RunFolder) -> pa.Table:
    """`load` as a pyarrow table with its full schema."""
    folder = run if isinstance(run, RunFolder) else find(str(run))
    ledger = fold(folder.read().records)
    waiting = "running" if folder.is_live() else "interrupted"
    rows = [row for trial in ledger.trials.values() for row in _rows(trial, waiting)]
    values = pa.schema([pa.field(p, _arrow_type(rows, p)) for p in folder.spec.searched()])
    return pa.Table.from_pylist(rows, schema=pa.schema([*schema.HEAD, *values, *schema.TAIL]))


def networks(rows: pd.DataFrame) -> pd.DataFrame:
    """The network each trial ended with, or has so far: its last row with metrics."""
    trained = rows[rows["robust_accuracy"].notna() & ~rows["status"].isin(["diverged", "failed"])]
    return trained.sort_values(["trial", "epoch"]).groupby("trial").tail(1).reset_index(drop=True)


def _rows(trial: Trial, waiting: str) -> list[dict[str, Any]]:
    status = waiting if trial.status == "running" else trial.status
    common = {
        "trial": trial.id,
        "status": status,
        "seed": trial.seed,
        "sampler": trial.sampler,
        **trial.values,
    }
    rows = [
        common
        | {name: record.get(name) for name in (*schema.METRICS, "rung", "rung_position", "rung_size")}
        | {"epoch": record["epoch"], "time": _milliseconds(record["time"])}
        for record in trial.epochs
    ]
    if trial.ended_epoch is not None:
        rows.append(
            common
            | {
                "epoch": trial.ended_epoch,
                "error": trial.error,
                "time": _milliseconds(trial.ended_time),
            }
        )
    return rows


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _arrow_type(rows: list[dict[str, Any]], path: str) -> pa.DataType:
    kinds = {type(row[path]) for row in rows if path in row}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds and kinds <= {int, float} else pa.string()
