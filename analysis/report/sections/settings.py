"""Section: how settings and objectives are related: importance, thresholds, parallel coordinates, slices."""

from typing import Any

import numpy as np
import pandas as pd

from rtune.config.ranges import Choice

from ...objectives import Objective
from ...statistics.importance import ALL, importance
from ..facts import Facts
from ..run_set import RunSet
from ..section import Content, Section

# How many plots of one setting each there are, at most; the most important settings come first.
MOST_SLICES = 12
_REMARK = (
    "Importance (PED-ANOVA): the share of the variance of being among the best tenth that a setting explains "
    "on its own, with bootstrap 95 % confidence intervals. The grey tick is the noise level (95 % quantile "
    "for a setting without influence): a bar that does not reach beyond it shows no effect."
)


def content(facts: Facts) -> Content | None:
    """Of runs with different search spaces only the slices and the parallel coordinates."""
    run_set = facts.run_set
    if run_set.networks.empty:
        return None
    remark = "The runs search different spaces; the report of each run alone has the importances."
    table, plot, paths = None, None, _numeric(run_set)
    if facts.one_space:
        found = importance(run_set.networks, run_set.runs[0].folder.spec, run_set.objectives)
        known = found.dropna(subset=["explained"])
        order = list(found.loc[found["objective"] == _overall(run_set), "parameter"])
        paths = [path for path in order if path in paths]
        remark = "There are too few trials to estimate the importance of a setting."
        if len(known):
            table, plot, remark = _table(found), _for_plot(known, order), _REMARK
    slices = [*_bands(facts), *_slices(run_set, paths)][:MOST_SLICES]
    labels = facts.thresholds.labels
    context = {
        "sentences": [one.sentence for one in facts.thresholds.bands.values()],
        "table": table,
        "remark": remark,
        "slices": [(one["name"], labels.get(one["name"], one["name"])) for one in slices],
        "objectives": [(o.name, o.label) for o in run_set.objectives],
    }
    return Content(context, {"importance": plot, "axes": _axes(run_set, facts.drawn), "slices": slices})


def _overall(run_set: RunSet) -> str:
    """The objective by whose importances the settings are sorted."""
    return ALL if len(run_set.objectives) > 1 else run_set.names[0]


def _numeric(run_set: RunSet) -> list[str]:
    """Searched numbers that differ between networks."""
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
        _slice(run_set.networks[p], _is_log(run_set, p) and positive[p], None) for p in paths[:MOST_SLICES]
    ]


def _slice(column: "pd.Series[Any]", log: bool, ends: tuple[float, float] | None) -> dict[str, Any]:
    """A plot of one setting: its range, whether its axis is logarithmic, a band to shade."""
    low, high = float(column.min()), float(column.max())
    return {"name": column.name, "log": log, "low": low, "high": high, "band": ends and list(ends)}


def _bands(facts: Facts) -> list[dict[str, Any]]:
    """Slices of the thresholds."""
    found = []
    for name, column in facts.thresholds.columns.items():
        one = facts.thresholds.bands[name]
        found.append(_slice(column, bool((column.dropna() > 0).all()), one.middle or one.front))
    return found


def _axes(run_set: RunSet, drawn: pd.DataFrame) -> list[dict[str, Any]]:
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
            found.append({"name": path, "choices": sorted(map(str, column.unique()))})
        else:
            numbers = column.to_numpy(float)
            log = _is_log(run_set, path) and bool(numbers.min() > 0)
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


def _is_log(run_set: RunSet, path: str) -> bool:
    """Whether a value is searched on a log scale."""
    return any(getattr(run.folder.spec.ranges.get(path), "log", False) for run in run_set.runs)


def _for_plot(known: pd.DataFrame, order: list[str]) -> dict[str, Any]:
    parts = []
    for name, part in known.groupby("objective", sort=False):
        figures = part.set_index("parameter")
        columns = {
            column: figures[column].round(4).to_dict() for column in ("explained", "low", "high", "null")
        }
        parts.append({"label": _goal(str(name)), **columns})
    there = set(known["parameter"])
    return {"parameters": [path for path in order if path in there], "objectives": parts[::-1]}


def _table(found: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    columns = ["setting", "for", "importance", "95 % interval", "noise level", "networks"]
    rows = [
        [
            str(row["parameter"]),
            _goal(str(row["objective"])),
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


def _goal(name: str) -> str:
    return "all objectives" if name == ALL else Objective(name, True).label


SECTION = Section.of_module(__file__, "Settings", "Which settings matter", content)
