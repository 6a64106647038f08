"""Results of simulated searches for `benchmarks.search`: statistics, text and a plot."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TARGETS = (90, 95, 99)
# Columns of the table, as fractions of the budget.
POINTS = (0.1, 0.25, 0.5, 0.75, 1.0)
OURS = "rtune"


@dataclass(frozen=True)
class Searches:
    """The searches of a method.

    Attributes:
        method: name of the method.
        shares: (seeds, budget), hypervolume after each epoch, as a fraction of that of the table.
        seconds: computing time of all searches.
    """

    method: str
    shares: np.ndarray
    seconds: float

    def epochs_to(self, percent: int) -> list[float]:
        """(seeds,), epochs until a search reaches `percent` of the hypervolume; inf if it does not."""
        # The whole front of the table has a fraction of 1 up to rounding.
        reached = self.shares >= percent / 100 - 1e-9
        return [float(row.argmax() + 1) if row.any() else math.inf for row in reached]

    def summary(self) -> dict[str, Any]:
        """Medians and quartiles over the seeds, for JSON; None if not reached."""
        final = [float(v) for v in self.shares[:, -1]]
        found: dict[str, Any] = {"method": self.method, "seeds": len(final)}
        for percent in TARGETS:
            epochs = self.epochs_to(percent)
            found[f"epochs_to_{percent}"] = _known(quantile(epochs, 0.5))
            found[f"epochs_to_{percent}_quartiles"] = [_known(quantile(epochs, q)) for q in (0.25, 0.75)]
        found["final_hypervolume"] = round(quantile(final, 0.5), 6)
        found["final_hypervolume_quartiles"] = [round(quantile(final, q), 6) for q in (0.25, 0.75)]
        found["seconds"] = round(self.seconds, 1)
        return found


def summaries(results: Sequence[Searches]) -> list[dict[str, Any]]:
    """Summary of each method, with the fraction of seeds in which it ends below rtune."""
    found = [result.summary() for result in results]
    for result, summary in zip(results, found, strict=True):
        below = _below(result, results)
        if below is not None:
            summary["below_rtune"] = round(below, 4)
    return found


def _below(result: Searches, results: Sequence[Searches]) -> float | None:
    """Fraction of seeds in which `result` ends below rtune; None for rtune, or without results of rtune."""
    ours = next((r for r in results if r.method == OURS), None)
    if ours is None or result is ours:
        return None
    return float((result.shares[:, -1] < ours.shares[:, -1] - 1e-9).mean())


def quantile(values: Sequence[float], q: float) -> float:
    """The quantile with linear interpolation as in NumPy; inf if a neighbouring value is inf."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    low, part = int(place), place - int(place)
    if part == 0 or ordered[low] == math.inf:
        return ordered[low]
    return ordered[low] + part * (ordered[low + 1] - ordered[low])


def _known(value: float) -> float | None:
    return None if value == math.inf else value


def text(results: Sequence[Searches]) -> str:
    """Two tables with a row per method: hypervolume after some epochs, and epochs until some hypervolume."""
    budget = results[0].shares.shape[1]
    looks = sorted({max(1, round(part * budget)) for part in POINTS})
    shares, epochs = [], []
    for result in results:
        row = [result.method]
        for look in looks:
            column = [100 * float(v) for v in result.shares[:, look - 1]]
            low, middle, high = (f"{quantile(column, q):.1f}" for q in (0.25, 0.5, 0.75))
            row.append(f"{middle} [{low} {high}]")
        shares.append(row)
        row = [result.method]
        for percent in TARGETS:
            column = result.epochs_to(percent)
            low, middle, high = (_epochs(quantile(column, q)) for q in (0.25, 0.5, 0.75))
            row.append(middle if low == middle == high else f"{middle} [{low} {high}]")
        below = _below(result, results)
        row.append("" if below is None else f"{below:.0%}")
        epochs.append(row)
    return "\n".join(
        [
            "percent of the table's hypervolume after so many epochs, median [quartiles] over the seeds:",
            *_aligned([["", *map(str, looks)], *shares]),
            "",
            "epochs until so many percent of it, median [quartiles]; never: not within the budget;",
            f"below: the seeds with which a search ends with less than {OURS}'s:",
            *_aligned([["", *(f"{percent} %" for percent in TARGETS), "below"], *epochs]),
        ]
    )


def _epochs(value: float) -> str:
    return "never" if value == math.inf else f"{value:.0f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def plot(results: Sequence[Searches], title: str, file: Path) -> None:
    """Plots the median of each method over the seeds, with quartiles as a band, to a PNG, SVG or PDF file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 6), layout="constrained")
    others = [result.method for result in results if result.method != OURS]
    palette = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]
    styles = ("-", "--", ":", "-.")
    budget = results[0].shares.shape[1]
    epochs = np.arange(1, budget + 1)
    floor = 1.0
    # The legend has the methods in the order of their final values, best first.
    for result in sorted(results, key=lambda r: -float(np.median(r.shares[:, -1]))):
        low, middle, high = np.quantile(result.shares, (0.25, 0.5, 0.75), axis=0)
        floor = min(floor, float(low[max(0, budget // 5 - 1)]))
        ours = result.method == OURS
        place = 0 if ours else others.index(result.method)
        color = "black" if ours else palette[place % len(palette)]
        axes.plot(
            epochs,
            middle,
            styles[0] if ours else styles[place % len(styles)],
            color=color,
            linewidth=3.2 if ours else 1.5,
            zorder=3 if ours else 2,
            label=result.method,
            drawstyle="steps-post",
        )
        alpha = 0.18 if ours else 0.07
        axes.fill_between(epochs, low, high, step="post", color=color, alpha=alpha, linewidth=0, zorder=1)
    # All curves start at 0, but the methods differ far above it, so the y axis starts higher.
    axes.set_ylim(max(0.0, math.floor(20 * floor) / 20), 1.005)
    axes.set_xlim(0, budget)
    axes.set_xlabel("epochs spent")
    axes.set_ylabel("share of the table's hypervolume")
    axes.set_title(title, fontsize=11, loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    legend = figure.legend(
        loc="outside right center", frameon=False, title="median, quartiles shaded", handlelength=3.2
    )
    for label in legend.get_texts():
        label.set_fontweight("bold" if label.get_text() == OURS else "normal")
    figure.savefig(file, dpi=130)
    plt.close(figure)
