"""Pictures of a front: interactive for the page, static for paper and README."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib import pyplot as plt
from plotly.subplots import make_subplots

from analysis.front import front

# Okabe and Ito's colours, told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon")
MARKERS = ("o", "s", "D", "^", "P", "X", "*", "p")


def label(name: str) -> str:
    return name.replace("_", " ")


def kinds(networks: pd.DataFrame, searched: Sequence[str]) -> "pd.Series[str]":
    """A short name for each network's kind: its searched texts, such as `enresnet rgsm`."""
    texts = [p for p in searched if p in networks and networks[p].map(lambda v: isinstance(v, str)).any()]
    if not texts:
        return pd.Series("network", index=networks.index)
    return networks[texts].fillna("").astype(str).agg(" ".join, axis=1).str.split().str.join(" ")


def interactive(networks: pd.DataFrame, objectives: Sequence[str], searched: Sequence[str]) -> go.Figure:
    """Every pair of objectives: all networks, the pair's own front as a staircase."""
    pairs = list(itertools.combinations(objectives, 2))
    figure = make_subplots(rows=1, cols=len(pairs), horizontal_spacing=0.08)
    members = set(front(networks, objectives)["trial"])
    for column, (x, y) in enumerate(pairs, start=1):
        stairs = _staircase(networks, x, y)
        figure.add_scatter(
            x=stairs[:, 0],
            y=stairs[:, 1],
            mode="lines",
            line={"color": "#888888", "dash": "dot"},
            hoverinfo="skip",
            name="front of the pair",
            showlegend=column == 1,
            row=1,
            col=column,
        )
        for i, kind, part in _groups(networks, searched):
            figure.add_scatter(
                x=part[x],
                y=part[y],
                mode="markers",
                name=kind,
                legendgroup=kind,
                showlegend=column == 1,
                marker={
                    "color": COLOURS[i],
                    "symbol": SYMBOLS[i],
                    "size": [12 if t in members else 9 for t in part["trial"]],
                    "opacity": [1.0 if t in members else 0.5 for t in part["trial"]],
                },
                text=part["trial"],
                hovertemplate=f"%{{text}}<br>{label(x)} %{{x:.3f}}<br>{label(y)} %{{y:.3f}}<extra></extra>",
                row=1,
                col=column,
            )
        figure.update_xaxes(title=label(x), range=_window(networks, objectives, x), row=1, col=column)
        figure.update_yaxes(title=label(y), range=_window(networks, objectives, y), row=1, col=column)
    figure.update_layout(
        template="plotly_white",
        height=460,
        margin={"l": 60, "r": 20, "t": 20, "b": 60},
        legend={"orientation": "h", "y": 1.12},
    )
    return figure


def save_static(
    networks: pd.DataFrame, objectives: Sequence[str], searched: Sequence[str], paths: Sequence[Path]
) -> None:
    """The same picture as files; the format is each path's suffix (svg, png, pdf).

    Networks far from the front lie outside the window.
    """
    pairs = list(itertools.combinations(objectives, 2))
    members = set(front(networks, objectives)["trial"])
    figure, axes = plt.subplots(1, len(pairs), figsize=(4.4 * len(pairs), 4), squeeze=False)
    for axis, (x, y) in zip(axes[0], pairs, strict=True):
        stairs = _staircase(networks, x, y)
        axis.plot(stairs[:, 0], stairs[:, 1], ":", color="#888888", zorder=1)
        for i, kind, part in _groups(networks, searched):
            on = part["trial"].isin(members)
            style: dict[str, Any] = {"color": COLOURS[i], "marker": MARKERS[i], "edgecolors": "none"}
            axis.scatter(part[x][~on], part[y][~on], s=28, alpha=0.5, **style)
            axis.scatter(part[x][on], part[y][on], s=60, label=kind, **style)
        axis.set(xlabel=label(x), xlim=_window(networks, objectives, x))
        axis.set(ylabel=label(y), ylim=_window(networks, objectives, y))
        axis.grid(alpha=0.25)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    for path in paths:
        # Fixed metadata and ids: the same run gives the same file.
        plain = {"Date": None} if path.suffix == ".svg" else None
        with plt.rc_context({"svg.hashsalt": "rtune"}):
            figure.savefig(path, dpi=150, metadata=plain)
    plt.close(figure)


def _groups(networks: pd.DataFrame, searched: Sequence[str]) -> Iterator[tuple[int, str, pd.DataFrame]]:
    """Networks by kind; past as many kinds as there are colours, one group for all."""
    names = kinds(networks, searched)
    if names.nunique() > len(COLOURS):
        names = pd.Series("network", index=networks.index)
    for i, (kind, part) in enumerate(networks.groupby(names)):
        yield i, str(kind), part


def _window(networks: pd.DataFrame, objectives: Sequence[str], name: str) -> tuple[float, float]:
    """Range of an axis that shows the whole front with some air; hopeless networks may lie outside."""
    values = front(networks, objectives)[name]
    air = 0.12 * (values.max() - values.min()) or 0.05
    return float(values.min() - air), float(values.max() + air)


def _staircase(networks: pd.DataFrame, x: str, y: str) -> np.ndarray:
    """Corners (n, 2) of the region that a pair's front dominates, from left to right."""
    best = front(networks, [x, y])[[x, y]].drop_duplicates().sort_values(x).to_numpy(float)
    corners = [best[:1]]
    for before, after in itertools.pairwise(best):
        corners += [np.array([[before[0], after[1]]]), after[None]]
    return np.concatenate(corners)
