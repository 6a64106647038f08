"""How sure a run_set's front is, in figures for the plots and in sentences."""

import shlex
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.evaluations import evaluations
from analysis.objectives import number
from analysis.report import text
from analysis.report.plot_data import pairs
from analysis.report.run_set import RunSet
from analysis.seeds import replicates
from analysis.statistics.attainment import attainment
from analysis.statistics.optimism import optimism
from analysis.statistics.uncertainty import membership, wilson
from rtune.run import schema

# Of the bootstrap; fewer for large runs.
_DRAWS, _LARGE = 1000, 10_000


@dataclass(frozen=True)
class Certainty:
    """What is known of a front's certainty.

    Attributes:
        probability: trial -> that it is truly non-dominated.
        within_noise: trials for which that is below 0.95.
        intervals: metric -> trial -> 95 % interval.
        surfaces: attainment surfaces for the plots of pairs.
        sentences: for readers.
    """

    probability: dict[str, float]
    within_noise: list[str]
    intervals: dict[str, dict[str, tuple[float, float]]]
    surfaces: list[dict[str, Any]]
    sentences: list[str]


def certainty(run_set: RunSet) -> Certainty:
    """Intervals of accuracies, chances of members, attainment over seeds, optimism of validation."""
    surfaces = _surfaces(run_set)
    sentences = _of_seeds(run_set, surfaces) + _of_optimism(run_set)
    draws = _DRAWS if len(run_set.networks) <= _LARGE else _DRAWS // 5
    chances = membership(
        run_set.networks, run_set.objectives, run_set.networks["images"], run_set.searched, draws
    )
    noisy = chances[chances["within_noise"]]
    probability = dict(zip(chances["trial"], chances["probability"], strict=True))
    intervals = _intervals(run_set)
    noise = _of_noise(run_set, intervals, len(noisy))
    return Certainty(probability, list(noisy["trial"]), intervals, surfaces, [*noise, *sentences])


_Intervals = dict[str, dict[str, tuple[float, float]]]


def _intervals(run_set: RunSet) -> _Intervals:
    found = {}
    for name in schema.ACCURACIES:
        low, high = wilson(run_set.members[name].to_numpy(float), run_set.members["images"].to_numpy(float))
        bounds = zip(low.round(4).tolist(), high.round(4).tolist(), strict=True)
        found[name] = dict(zip(run_set.members["trial"], bounds, strict=True))
    return found


def _of_noise(run_set: RunSet, intervals: _Intervals, noisy: int) -> list[str]:
    widths = [(high - low) / 2 for bounds in intervals.values() for low, high in bounds.values()]
    total = len(run_set.members)
    sentence = (
        f"Each accuracy of the front is of {run_set.images} validation images, which leaves it "
        f"±{max(widths):.3f} at most (95 % intervals, Wilson's). "
    )
    if noisy == 0:
        return [sentence + "No member of the front is within noise of being dominated."]
    are = "is" if noisy == 1 else "are"
    return [
        f"{sentence}Of {total} front member{'s' * (total != 1)} {noisy} {are} within noise of being "
        "dominated: the chance to be truly non-dominated is below 95 %. Networks are taken to err "
        "independently though they see the same images, so the chances are on the low side."
    ]


def _of_seeds(run_set: RunSet, surfaces: list[dict[str, Any]]) -> list[str]:
    groups = replicates(run_set.networks, run_set.searched)
    counts = groups[groups.duplicated(keep=False)].value_counts()
    repeated = int(groups[run_set.members.index].isin(counts.index).sum())
    if not repeated:
        return [_without_seeds(run_set)]
    spread = _spread(run_set, groups)
    shown = (
        " The lines in the plots are what 25, 50 and 75 % of the sets of seeds attain." if surfaces else ""
    )
    return [
        f"{repeated} of the {len(run_set.members)} front members {'has' if repeated == 1 else 'have'} "
        f"replicates from other seeds; within a setting the standard deviation over seeds is {spread}."
        f"{shown} "
        "Replicates are networks like others, so the front may hold the luckiest seed of a setting."
    ]


def _without_seeds(run_set: RunSet) -> str:
    place = shlex.quote(str(run_set.runs[0].folder.place))
    if not (run_set.networks["sampler"] == schema.REPLICATE).any():
        return (
            "Every setting was trained from one seed, so nobody knows how much of a figure is luck; "
            f"'rtune replicate {place}' trains the front's settings from more."
        )
    return (
        "No member of the front has a replicate that was trained as long and measured on as many images, so "
        "nobody knows how much of its figures is luck; "
        f"'rtune replicate {place}' adds replicates, and trains on those that ended too early."
    )


def _spread(run_set: RunSet, groups: Any) -> str:
    """Pooled standard deviation of each objective within settings."""
    rows = run_set.networks[groups.duplicated(keep=False)]
    own = groups[rows.index]
    parts = []
    for objective in run_set.objectives:
        column = rows[objective.name].astype(float)
        residuals = column - column.groupby(own).transform("mean")
        freedom = max(1, len(rows) - own.nunique())
        parts.append(f"{number(float(np.sqrt((residuals**2).sum() / freedom)))} in {objective.label}")
    return text.listed(parts)


def _surfaces(run_set: RunSet) -> list[dict[str, Any]]:
    """Attainment surfaces of each plotted pair, where there are replicates."""
    found = []
    asked = {o.name: o for o in run_set.objectives}
    for x, y in pairs(run_set.objectives):
        if x not in asked or y not in asked:
            continue
        made = attainment(run_set.networks, [asked[x], asked[y]], run_set.searched)
        if made is None:
            continue
        lines = [
            {"level": level, "x": line[:, 0].round(4).tolist(), "y": line[:, 1].round(4).tolist()}
            for level, line in made.items()
        ]
        found.append({"x": x, "y": y, "surfaces": lines})
    return found


def _of_optimism(run_set: RunSet) -> list[str]:
    said = []
    for i, run in enumerate(run_set.runs):
        own = run_set.networks[run_set.networks["run"] == i]
        if len(run_set.runs) > 1:
            own = own.assign(trial=own["trial"].str.removeprefix(f"{run.name}/"))
        found = optimism(own, evaluations(run), run_set.objectives, own["images"], run_set.attack)
        said += (
            []
            if found is None
            else [f"{run.name}: {found.sentence}" if len(run_set.runs) > 1 else found.sentence]
        )
    return said
