"""How networks, methods and runs compare, in sentences for the page."""

from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pandas as pd

from analysis import paper
from analysis.objectives import Objective
from analysis.report import plot_data
from analysis.report.run_set import RunSet
from analysis.settings import once
from analysis.statistics.attainment import attainment_difference, attainment_test, by_runs
from analysis.statistics.by_kind import by_kind
from analysis.statistics.compare import LEAST, compare, p_words

Section = tuple[str, list[str]]
# What is compared kind by kind: dotted path -> how its values are called.
_KINDS = ("model.network", "pruning.method")
_SPARSITIES = ("channel_sparsity", "weight_sparsity", "removable_channels")
_ACCURACIES = ("natural_accuracy", "robust_accuracy")
# More kinds or runs than that make more pairs than anybody reads.
_MOST = 4
MOST_DIFFERENCES = 6
# Of the bootstrap; fewer for large runs, whose fronts take long to measure.
_DRAWS, _LARGE = 1000, 10_000


def sections(run_set: RunSet) -> list[Section]:
    """Each with a title: kinds of networks, methods, then each two runs."""
    return [*_networks(run_set), *_sets(run_set), *_runs(run_set)]


def differences(run_set: RunSet) -> list[dict[str, Any]]:
    """Where in the plane of two objectives one side is attained more often, for the plots.

    Of networks and methods where settings have replicates, of runs likewise; the first sides that have any.
    """
    asked = {o.name: o for o in run_set.objectives}
    found = []
    for names, sides in _pairs(run_set):
        for x, y in plot_data.pairs(run_set.objectives):
            if x not in asked or y not in asked:
                continue
            made = attainment_difference(sides[0], sides[1], [asked[x], asked[y]], run_set.searched)
            if made is not None and len(made):
                places = made.replace([np.inf, -np.inf], np.nan).astype(object).where(np.isfinite(made), None)
                found.append({"x": x, "y": y, "names": names, "places": places.to_numpy().tolist()})
    return found[:MOST_DIFFERENCES]


def _pairs(run_set: RunSet) -> Iterator[tuple[tuple[str, str], list[pd.DataFrame]]]:
    for i, j in combinations(range(min(len(run_set.runs), _MOST)), 2):
        sides = [run_set.networks[run_set.networks["run"] == k] for k in (i, j)]
        yield (run_set.runs[i].name, run_set.runs[j].name), sides
    for path in _KINDS:
        for a, b in combinations(_values(run_set.networks, path), 2):
            yield (a, b), [run_set.networks[run_set.networks[path] == value] for value in (a, b)]


def _networks(run_set: RunSet) -> Iterator[Section]:
    """The paper's claim: are ensembles better at equal sparsity, at equal accuracy, at equal parameters?"""
    own = once(run_set.networks)
    kinds = _values(own, "model.network")
    if len(kinds) < 2:
        return
    asked = [name for name in run_set.names if name in _SPARSITIES] or list(_SPARSITIES[:2])
    conditions = [(x, y) for x in (*asked, "parameters") for y in _ACCURACIES]
    conditions.append(("natural_accuracy", "robust_accuracy"))
    said = [
        one.sentence
        for x, y in conditions
        for one in by_kind(own, own["model.network"], x, y, _draws(run_set))
    ]
    said = list(dict.fromkeys(said))  # that there are too few is said once
    if {"resnet", "enresnet"} <= set(kinds):
        said.append(
            f"{paper.HEADLINE} Those figures are of CIFAR-10 after 200 epochs, "
            f"on test images; the ones above are of {run_set.dataset}, on validation images."
        )
    yield "Networks, at equal sparsity, parameters and accuracy", said


def _sets(run_set: RunSet) -> Iterator[Section]:
    """Fronts of networks and of methods against each other."""
    own = once(run_set.networks)
    for path in _KINDS:
        for a, b in combinations(_values(own, path), 2):
            sides, whole = (
                [part[part[path] == value] for value in (a, b)] for part in (own, run_set.networks)
            )
            names = f"{Objective(path.partition('.')[2], True).label}: {a} and {b}"
            yield names[0].upper() + names[1:], _compared(run_set, sides, whole, (a, b))


def _runs(run_set: RunSet) -> Iterator[Section]:
    own = once(run_set.networks)  # more seeds are more chances of a lucky one
    for i, j in combinations(range(min(len(run_set.runs), _MOST)), 2):
        names = (run_set.runs[i].name, run_set.runs[j].name)
        sides, whole = ([part[part["run"] == k] for k in (i, j)] for part in (own, run_set.networks))
        yield f"Runs: {names[0]} and {names[1]}", _compared(run_set, sides, whole, names)


def _compared(
    run_set: RunSet, sides: list[pd.DataFrame], whole: list[pd.DataFrame], names: tuple[str, str]
) -> list[str]:
    """Of a network a setting, but for what is attained from seed to seed, which is of `whole` sides."""
    if min(map(len, sides)) < LEAST:
        return [f"{len(sides[0])} and {len(sides[1])} networks are too few to be compared."]
    draws = _draws(run_set)
    found = compare(
        sides[0],
        sides[1],
        run_set.objectives,
        images=int(min(side["images"].min() for side in sides)),
        draws=draws,
        searched=run_set.searched,
    )
    return [*found.sentences(*names), *_attained(run_set, whole, names)]


def _attained(run_set: RunSet, sides: list[pd.DataFrame], names: tuple[str, str]) -> Iterator[str]:
    """How far the sides are apart from set to set of seeds, in each two objectives."""
    asked = {o.name: o for o in run_set.objectives}
    for x, y in plot_data.pairs(run_set.objectives):
        if x in asked and y in asked:
            tested = attainment_test(
                sides[0], sides[1], [asked[x], asked[y]], run_set.searched, _draws(run_set)
            )
            if tested is None:
                continue
            *ahead, p, count = tested
            plane = f"In {asked[x].label} and {asked[y].label}"
            sets = f"{'runs' if by_runs(*sides) else 'sets of seeds'} ({count} a side)"
            if max(ahead) == 0:
                yield f"{plane} the {sets} of both sides attain the same."
                continue
            # The one that is further ahead first.
            (most, name), (least, other) = sorted(zip(ahead, names, strict=True), key=lambda one: -one[0])
            elsewhere = f" (elsewhere {100 * least:.0f} more of {other})" if least > 0 else ""
            fewest = 2 / comb(2 * count, count)
            few = ", the least that so few can give," if p <= fewest * (1 + 1e-9) and fewest > 0.001 else ""
            yield (
                f"{plane} the {sets} are furthest apart where a network as good is attained by "
                f"{100 * most:.0f} percentage points more of those of {name} than of {other}{elsewhere}; "
                f"{p_words(p)}{few} for such a difference between sets of one kind."
            )


def _draws(run_set: RunSet) -> int:
    return _DRAWS if len(run_set.networks) <= _LARGE else _DRAWS // 10


def _values(networks: pd.DataFrame, path: str) -> list[str]:
    """Values of a searched text, the most frequent where they are many; none if it is not searched."""
    if path not in networks:
        return []
    counts = networks[path].dropna().value_counts()
    return sorted(str(value) for value in counts.index[:_MOST])
