"""How sure a view's front is, in figures for the plots and in sentences."""

import shlex
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis import words
from analysis.evaluations import evaluations
from analysis.objectives import number
from analysis.pagedata import pairs
from analysis.seeds import attainment, replicates
from analysis.uncertainty import membership, optimism, wilson
from analysis.view import View
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


def certainty(view: View) -> Certainty:
    """Intervals of accuracies, chances of members, attainment over seeds, optimism of validation."""
    surfaces = _surfaces(view)
    sentences = _of_seeds(view, surfaces) + _of_optimism(view)
    draws = _DRAWS if len(view.networks) <= _LARGE else _DRAWS // 5
    chances = membership(view.networks, view.objectives, view.networks["images"], view.searched, draws)
    noisy = chances[chances["within_noise"]]
    probability = dict(zip(chances["trial"], chances["probability"], strict=True))
    intervals = _intervals(view)
    noise = _of_noise(view, intervals, len(noisy))
    return Certainty(probability, list(noisy["trial"]), intervals, surfaces, [*noise, *sentences])


_Intervals = dict[str, dict[str, tuple[float, float]]]


def _intervals(view: View) -> _Intervals:
    found = {}
    for name in schema.ACCURACIES:
        low, high = wilson(view.members[name].to_numpy(float), view.members["images"].to_numpy(float))
        bounds = zip(low.round(4).tolist(), high.round(4).tolist(), strict=True)
        found[name] = dict(zip(view.members["trial"], bounds, strict=True))
    return found


def _of_noise(view: View, intervals: _Intervals, noisy: int) -> list[str]:
    widths = [(high - low) / 2 for bounds in intervals.values() for low, high in bounds.values()]
    total = len(view.members)
    sentence = (
        f"Each accuracy of the front is of {view.images} validation images, which leaves it "
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


def _of_seeds(view: View, surfaces: list[dict[str, Any]]) -> list[str]:
    groups = replicates(view.networks, view.searched)
    counts = groups[groups.duplicated(keep=False)].value_counts()
    repeated = int(groups[view.members.index].isin(counts.index).sum())
    if not repeated:
        return [_without_seeds(view)]
    spread = _spread(view, groups)
    shown = (
        " The lines in the plots are what 25, 50 and 75 % of the sets of seeds attain." if surfaces else ""
    )
    return [
        f"{repeated} of the {len(view.members)} front members {'has' if repeated == 1 else 'have'} "
        f"replicates from other seeds; within a setting the standard deviation over seeds is {spread}."
        f"{shown} "
        "Replicates are networks like others, so the front may hold the luckiest seed of a setting."
    ]


def _without_seeds(view: View) -> str:
    place = shlex.quote(str(view.runs[0].folder.place))
    if not (view.networks["sampler"] == schema.REPLICATE).any():
        return (
            "Every setting was trained from one seed, so nobody knows how much of a figure is luck; "
            f"'rtune replicate {place}' trains the front's settings from more."
        )
    return (
        "No member of the front has a replicate that was trained as long and measured on as many images, so "
        "nobody knows how much of its figures is luck; "
        f"'rtune replicate {place}' adds replicates, and trains on those that ended too early."
    )


def _spread(view: View, groups: Any) -> str:
    """Pooled standard deviation of each objective within settings."""
    rows = view.networks[groups.duplicated(keep=False)]
    own = groups[rows.index]
    parts = []
    for objective in view.objectives:
        column = rows[objective.name].astype(float)
        residuals = column - column.groupby(own).transform("mean")
        freedom = max(1, len(rows) - own.nunique())
        parts.append(f"{number(float(np.sqrt((residuals**2).sum() / freedom)))} in {objective.label}")
    return words.listed(parts)


def _surfaces(view: View) -> list[dict[str, Any]]:
    """Attainment surfaces of each plotted pair, where there are replicates."""
    found = []
    asked = {o.name: o for o in view.objectives}
    for x, y in pairs(view.objectives):
        if x not in asked or y not in asked:
            continue
        made = attainment(view.networks, [asked[x], asked[y]], view.searched)
        if made is None:
            continue
        lines = [
            {"level": level, "x": line[:, 0].round(4).tolist(), "y": line[:, 1].round(4).tolist()}
            for level, line in made.items()
        ]
        found.append({"x": x, "y": y, "surfaces": lines})
    return found


def _of_optimism(view: View) -> list[str]:
    said = []
    for i, run in enumerate(view.runs):
        own = view.networks[view.networks["run"] == i]
        if len(view.runs) > 1:
            own = own.assign(trial=own["trial"].str.removeprefix(f"{run.name}/"))
        found = optimism(own, evaluations(run), view.objectives, own["images"], view.attack)
        said += (
            []
            if found is None
            else [f"{run.name}: {found.sentence}" if len(view.runs) > 1 else found.sentence]
        )
    return said
