"""Which settings matter, put together for the page."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.objectives import Objective
from analysis.report import plot_data
from analysis.report.run_set import RunSet
from analysis.settings import setting
from analysis.statistics.importance import ALL, importance
from analysis.statistics.threshold import FORMULAS, Band, band, threshold
from rtune.config.spec import Spec

# Plots of one setting each; beyond that the most important ones.
MOST_SLICES = 12
_REMARK = (
    "The part of being among the best tenth that a setting explains on its own (PED-ANOVA), with 95 % "
    "intervals from resampling. The grey tick is what a setting without influence stays below in 95 % of "
    "cases: shorter bars are noise."
)


@dataclass(frozen=True)
class Findings:
    """What is known of the settings.

    Attributes:
        importance: for the plot; None where trials are too few.
        table: headings and cells of the same.
        remark: how to read it, or why there is none.
        derived: name -> a figure that follows from settings, for the plots.
        labels: of these.
        slices: plots of one setting each: name, whether its axis is logarithmic, a band.
        sentences: on the band of good thresholds.
    """

    importance: dict[str, Any] | None = None
    table: tuple[list[str], list[list[str]]] | None = None
    remark: str = ""
    derived: dict[str, "pd.Series[float]"] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    slices: list[dict[str, Any]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)


def findings(run_set: RunSet) -> Findings:
    """Importance, slices, the band of thresholds; of runs with different search spaces the slices alone."""
    specs = [run.folder.spec for run in run_set.runs]
    if any(spec.ranges != specs[0].ranges or _fixed(spec) != _fixed(specs[0]) for spec in specs):
        return Findings(
            remark="The runs search different spaces: each one's own report has the importances.",
            slices=_slices(run_set, _numeric(run_set)),
        )
    found = importance(run_set.networks, specs[0], run_set.objectives)
    derived, labels, bands = _thresholds(run_set, specs[0])
    order = list(found.loc[found["objective"] == _overall(run_set), "parameter"])
    known = found.dropna(subset=["explained"])
    numeric = [path for path in order if path in _numeric(run_set)]
    return Findings(
        importance=_for_plot(known, order, run_set) if len(known) else None,
        table=_table(found, run_set) if len(known) else None,
        remark=_REMARK if len(known) else "There are too few trials to tell how much a setting matters.",
        derived=derived,
        labels=labels,
        slices=[*_bands(bands, derived), *_slices(run_set, numeric)][:MOST_SLICES],
        sentences=[one.words for one in bands],
    )


def _fixed(spec: Spec) -> Any:
    return spec.file.pruning


def _overall(run_set: RunSet) -> str:
    return ALL if len(run_set.objectives) > 1 else run_set.names[0]


def _numeric(run_set: RunSet) -> list[str]:
    return [
        path
        for path in run_set.searched
        if pd.api.types.is_numeric_dtype(run_set.networks[path])
        and not pd.api.types.is_bool_dtype(run_set.networks[path])
        and run_set.networks[path].nunique() > 1
    ]


def _slices(run_set: RunSet, paths: list[str]) -> list[dict[str, Any]]:
    positive = {path: bool((run_set.networks[path].dropna() > 0).all()) for path in paths}
    return [
        _slice(run_set.networks[p], plot_data.is_log(run_set, p) and positive[p], None)
        for p in paths[:MOST_SLICES]
    ]


def _slice(column: "pd.Series[Any]", log: bool, ends: tuple[float, float] | None) -> dict[str, Any]:
    low, high = float(column.min()), float(column.max())
    return {"name": column.name, "log": log, "low": low, "high": high, "band": ends and list(ends)}


def _thresholds(
    run_set: RunSet, spec: Spec
) -> tuple[dict[str, "pd.Series[float]"], dict[str, str], list[Band]]:
    """The threshold as one more figure for each method and penalty in use, and its band."""
    bands = band(run_set.networks, spec, run_set.objectives)
    every = threshold(run_set.networks, spec)
    derived, labels = {}, {}
    for one in bands:
        if one.searched[0] == one.searched[1]:
            continue
        name = f"threshold.{one.method}.{one.penalty}"
        own = setting(run_set.networks, spec, f"pruning.{one.method}.penalty") == one.penalty
        derived[name] = every.where(own).rename(name)
        labels[name] = f"{one.method.upper()}: {FORMULAS[one.method][one.penalty][1]}"
    return derived, labels, bands


def _bands(bands: list[Band], derived: dict[str, "pd.Series[float]"]) -> list[dict[str, Any]]:
    return [
        _slice(derived[name], bool((derived[name].dropna() > 0).all()), one.middle or one.front)
        for one in bands
        if (name := f"threshold.{one.method}.{one.penalty}") in derived
    ]


def _for_plot(known: pd.DataFrame, order: list[str], run_set: RunSet) -> dict[str, Any]:
    parts = []
    for name, part in known.groupby("objective", sort=False):
        figures = part.set_index("parameter")
        columns = {
            column: figures[column].round(4).to_dict() for column in ("explained", "low", "high", "null")
        }
        parts.append({"label": _label(str(name)), **columns})
    there = set(known["parameter"])
    return {"parameters": [path for path in order if path in there], "objectives": parts[::-1]}


def _table(found: pd.DataFrame, run_set: RunSet) -> tuple[list[str], list[list[str]]]:
    columns = ["setting", "for", "explains", "95 % interval", "noise below", "networks"]
    rows = [
        [
            str(row["parameter"]),
            _label(str(row["objective"])),
            *(
                ["too few", "", ""]
                if np.isnan(row["explained"])
                else [
                    f"{row['explained']:.3f}",
                    f"{row['low']:.3f} to {row['high']:.3f}",
                    f"{row['null']:.3f}",
                ]
            ),
            f"{row['networks']:,}",
        ]
        for row in found.to_dict("records")
    ]
    return columns, rows


def _label(name: str) -> str:
    return "all objectives" if name == ALL else Objective(name, True).label
