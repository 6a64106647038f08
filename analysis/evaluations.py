"""The results of `rtune evaluate` as tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from rtune.run import schema
from rtune.run.folder import RunFolder

from .load import Run, networks, read

# Settings in which two columns of one attack may differ. Only noisy networks are evaluated `noise_draws`
# times, so a difference in it between noisy and other networks makes no second column.
_DISTINCT = ("epsilon", "step_size", "restarts", "eot_draws", "noise_draws", "seed", "images")


def evaluations(run: str | Path | RunFolder | Run) -> pd.DataFrame:
    """One row a network, attack and its settings, in the columns of `rtune.run.schema.EVALUATIONS`.

    `accuracy` is a fraction of `images`; for a noisy network the mean over `noise_draws` passes,
    with their standard deviation as `accuracy_std`. A row is about the network at `epoch`; the
    trial may have been trained further since.

    Raises:
        RunError: `run` is no run folder.
    """
    records = [r for r in _records(run) if r["kind"] == "evaluation"]
    rows = [r | {"time": round(r["time"] * 1000)} for r in records]
    frame: pd.DataFrame = pa.Table.from_pylist(rows, schema=schema.EVALUATIONS).to_pandas(
        types_mapper={pa.int64(): pd.Int64Dtype()}.get
    )
    return frame


def evaluation_table(
    run: str | Path | RunFolder | Run, split: str, trials: Sequence[str] | None = None
) -> tuple[list[str], list[list[str]], str]:
    """Headings, cells, and a remark on their precision: a row a network, a column an attack.

    The two columns after the trial are the search's figures, on the validation split. Evaluations of an
    earlier epoch of a trial than its present one are left out.

    Args:
        run: the run.
        split: `test` or `validation`.
        trials: only these; all when None.
    """
    run = run if isinstance(run, Run) else read(run)
    now = networks(run.rows).set_index("trial")
    found = evaluations(run)
    found = found[found["split"] == split]
    if trials is not None:
        found = found[found["trial"].isin(trials)]
    current = found["trial"].map(now["epoch"]).eq(found["epoch"]).fillna(False).astype(bool)
    found = found[current]
    if found.empty:
        return [], [], ""
    labels = _labels(found)
    attacks = list(dict.fromkeys(labels))
    cells = {(row["trial"], label): row for label, (_, row) in zip(labels, found.iterrows(), strict=True)}
    order = now.loc[list(dict.fromkeys(found["trial"]))].sort_values("natural_accuracy", ascending=False)
    rows = [
        [
            str(trial),
            f"{row['natural_accuracy']:.3f}",
            f"{row['robust_accuracy']:.3f}",
            *(_cell(cells.get((trial, attack))) for attack in attacks),
        ]
        for trial, row in order.iterrows()
    ]
    error = (found["accuracy"] * (1 - found["accuracy"]) / found["images"].astype(float)).max() ** 0.5
    images = ", ".join(f"{n:,}" for n in sorted(found["images"].unique()))
    remark = f"{images} images: one standard error of these accuracies is {error:.3f} at most"
    for norm, radii in found.groupby("norm")["epsilon"]:
        if radii.nunique() == 1:
            remark += f"; epsilon {radii.iloc[0]:.4g} ({norm})"
    if found["noise_draws"].max() > 1:
        remark += "; after ±, the standard deviation over passes of a noisy network"
    return ["trial", "natural_accuracy in search", "robust_accuracy in search", *attacks], rows, remark


def diagnoses(run: str | Path | RunFolder | Run) -> list[dict[str, Any]]:
    """The records of `rtune evaluate --diagnose` (docs/run-folder.md), in the order they were written."""
    return [r for r in _records(run) if r["kind"] == "diagnosis"]


def _records(run: str | Path | RunFolder | Run) -> list[dict[str, Any]]:
    return (run if isinstance(run, Run) else read(run)).evaluated.records


def _labels(found: pd.DataFrame) -> list[str]:
    """The attack of each row, with those settings in which two rows of one attack differ."""
    differing = {attack: _differing(part) for attack, part in found.groupby("attack")}
    labels = []
    for row in found.to_dict("records"):
        names = [n for n in differing[row["attack"]] if n != "noise_draws" or row[n] > 1]
        settings = ", ".join(f"{n} {_short(row[n])}" for n in names)
        labels.append(f"{row['attack']} ({settings})" if settings else str(row["attack"]))
    return labels


def _differing(part: pd.DataFrame) -> list[str]:
    noisy = part[part["noise_draws"] > 1]
    return [n for n in _DISTINCT if (noisy if n == "noise_draws" else part)[n].nunique() > 1]


def _short(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _cell(row: Any) -> str:
    if row is None:
        return ""
    spread = f" ± {row['accuracy_std']:.3f}" if row["noise_draws"] > 1 else ""
    return f"{row['accuracy']:.3f}{spread}"
