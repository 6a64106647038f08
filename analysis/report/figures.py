"""Pictures of a front (SVG, PDF, PNG), for a paper or a README."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from ..front import front
from ..objectives import Objective, parse, values
from .plot_data import pairs
from .run_set import RunSet

# The colours of Okabe and Ito, which colour-blind readers can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")
MARKERS = ("o", "s", "D", "^", "P", "X", "*", "p")
# Inches: each plot is as wide as a column of a two-column paper, with text of its size. Text stays text.
_SIDE = 3.3
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "rtune",  # the same run gives the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# Networks off the front in one plot, at most; more would only overlap.
_MOST = 2000


def save(run_set: RunSet, paths: Sequence[Path]) -> None:
    """Writes the scatter plots of all pairs of objectives; each path's suffix is its format (svg, pdf, png).

    The axes cover the front; networks far from it are outside.
    """
    asked = {o.name: o for o in run_set.objectives}
    axes_of = [tuple(asked.get(name) or parse(name) for name in pair) for pair in pairs(run_set.objectives)]
    columns = min(3, len(axes_of))
    rows = -(-len(axes_of) // columns)
    if not paths:
        return
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(_SIDE * columns, _SIDE * rows * 0.9), squeeze=False
        )
        for axis, (x, y) in zip(axes.flat, axes_of, strict=False):
            _draw(axis, run_set, x, y)
        for axis in axes.flat[len(axes_of) :]:
            axis.set_visible(False)
        handles, labels = axes[0][0].get_legend_handles_labels()
        across = min(2 * columns, 4, len(labels))
        figure.legend(handles, labels, loc="upper center", ncols=across, frameon=False)
        height = _SIDE * rows * 0.9
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.22 * -(-len(labels) // across) / height))
        for path in paths:
            plain = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:])
            figure.savefig(path, dpi=200, metadata=plain)
        plt.close(figure)


def _draw(axis: Any, run_set: RunSet, x: Objective, y: Objective) -> None:
    stairs = staircase(run_set.networks, x, y)
    axis.plot(stairs[:, 0], stairs[:, 1], ":", color="#888888", zorder=1, linewidth=1)
    on = run_set.networks.index.isin(run_set.members.index)
    most = _MOST // run_set.networks["kind"].nunique()
    for i, kind, part in _groups(run_set):
        member = on[run_set.networks.index.get_indexer(part.index)]
        style: dict[str, Any] = {"color": COLOURS[i], "marker": MARKERS[i], "edgecolors": "none"}
        others = part[~member]
        others = others.sample(most, random_state=0) if len(others) > most else others
        axis.scatter(others[x.name], others[y.name], s=8, alpha=0.4, **style)
        axis.scatter(part[x.name][member], part[y.name][member], s=24, label=kind, **style)
    axis.set(xlabel=x.label, xlim=_window(run_set, x.name), ylabel=y.label, ylim=_window(run_set, y.name))
    axis.grid(alpha=0.25, linewidth=0.5)


def _groups(run_set: RunSet) -> Iterator[tuple[int, str, pd.DataFrame]]:
    for i, (kind, part) in enumerate(run_set.networks.groupby("kind")):
        yield i, str(kind), part


def _window(run_set: RunSet, name: str) -> tuple[float, float]:
    """Range of an axis that shows the whole front with a margin; other networks may lie outside."""
    found = run_set.members[name].to_numpy(float)
    low, high = float(found.min()), float(found.max())
    air = 0.12 * (high - low) or 0.05 * (abs(high) or 1)
    return low - air, high + air


def staircase(networks: pd.DataFrame, x: Objective, y: Objective) -> np.ndarray:
    """Corners (n, 2) of the region that the front of two objectives dominates, from left to right."""
    members = front(networks, [x, y])
    best = members[[x.name, y.name]].drop_duplicates()
    best = best.iloc[np.argsort(values(members.loc[best.index], [x, y])[:, 0])]
    points = best.to_numpy(float)
    if not x.maximise:
        points = points[::-1]
    corners = [points[:1]]
    for before, after in pairwise(points):
        # Where x is maximised the region ends to the right of a point, else to its left.
        corner = [before[0], after[1]] if x.maximise else [after[0], before[1]]
        corners += [np.array([corner]), after[None]]
    return np.concatenate(corners)
