"""Figures of a run set that several sections of the page show, each computed once, when first asked for."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from rtune import metrics
from rtune.config.catalog import PRUNERS

from ..settings import setting
from ..statistics.attainment import attainment
from ..statistics.threshold import Band, band, threshold
from ..statistics.uncertainty import certainty, wilson
from . import plot_data
from .run_set import RunSet

Intervals = dict[str, dict[str, tuple[float, float]]]


@dataclass(frozen=True)
class Thresholds:
    """The pruning thresholds of a run set (`analysis.statistics.threshold`).

    Attributes:
        columns: name -> threshold of each network that was pruned so; one for each method and penalty
            whose threshold differs between networks.
        labels: name -> text for readers.
        bands: name -> where good thresholds lie; also of those that do not differ.
    """

    columns: dict[str, "pd.Series[float]"] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    bands: dict[str, Band] = field(default_factory=dict)


class Facts:
    """A run set and what several sections show of it. The properties need at least one network.

    Properties are computed without a lock: a section that runs in a thread of its own must not use those
    that other sections use.
    """

    def __init__(self, run_set: RunSet) -> None:
        self.run_set = run_set

    @cached_property
    def drawn(self) -> pd.DataFrame:
        """The networks in the plots: the whole front, and a sample of the others where they are many."""
        return plot_data.drawn(self.run_set)

    @cached_property
    def certainty(self) -> pd.DataFrame:
        """A row for each front member: `analysis.statistics.uncertainty.certainty`."""
        networks = self.run_set.networks
        return certainty(networks, self.run_set.objectives, networks["images"])

    @cached_property
    def rivals(self) -> dict[str, str]:
        """Trial of the front -> the networks that may truly dominate it, as text; empty if it is clear."""
        return {
            row["trial"]: f"{row['rival'] or ''}{f' and {count - 1:,} more' * (count > 1)}"
            for row in self.certainty.to_dict("records")
            for count in [row["rivals"]]
        }

    @cached_property
    def within_noise(self) -> set[str]:
        """Trials of the front that are not clearly on it."""
        return set(self.certainty.loc[self.certainty["within_noise"], "trial"])

    @cached_property
    def intervals(self) -> Intervals:
        """Accuracy -> trial of the front -> Wilson's 95 % confidence interval."""
        members = self.run_set.members
        found = {}
        for name in metrics.of_images():
            low, high = wilson(members[name].to_numpy(float), members["images"].to_numpy(float))
            bounds = zip(low.round(4).tolist(), high.round(4).tolist(), strict=True)
            found[name] = dict(zip(members["trial"], bounds, strict=True))
        return found

    @cached_property
    def surfaces(self) -> list[dict[str, Any]]:
        """Attainment surfaces over seeds of each plotted pair of objectives; none without replicates."""
        found = []
        asked = {o.name: o for o in self.run_set.objectives}
        for x, y in plot_data.pairs(self.run_set.objectives):
            if x not in asked or y not in asked:
                continue
            made = attainment(self.run_set.networks, [asked[x], asked[y]], self.run_set.searched)
            if made is None:
                continue
            lines = [
                {"level": level, "x": line[:, 0].round(4).tolist(), "y": line[:, 1].round(4).tolist()}
                for level, line in made.items()
            ]
            found.append({"x": x, "y": y, "surfaces": lines})
        return found

    @cached_property
    def one_space(self) -> bool:
        """Whether all runs search the same ranges with the same fixed pruning settings."""
        first, *others = [run.folder.spec for run in self.run_set.runs]
        return all(
            other.ranges == first.ranges and other.file.pruning == first.file.pruning for other in others
        )

    @cached_property
    def thresholds(self) -> Thresholds:
        """Empty where the runs search different spaces."""
        found = Thresholds()
        if not self.one_space:
            return found
        networks, spec = self.run_set.networks, self.run_set.runs[0].folder.spec
        every = threshold(networks, spec)
        for one in band(networks, spec, self.run_set.objectives):
            name = f"threshold.{one.method}.{one.penalty}"
            found.bands[name] = one
            if one.searched[0] == one.searched[1]:
                continue
            own = setting(networks, spec, f"pruning.{one.method}.penalty") == one.penalty
            found.columns[name] = every.where(own).rename(name)
            found.labels[name] = f"{PRUNERS[one.method].label}: {one.formula}"
        return found
