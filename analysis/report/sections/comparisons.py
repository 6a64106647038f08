"""Section: networks, pruning methods and runs compared with each other, two at a time."""

from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pandas as pd

from ... import paper
from ...labels import label_words
from ...settings import once
from ...statistics.attainment import attainment_difference, attainment_test, by_runs
from ...statistics.by_kind import by_kind
from ...statistics.compare import LEAST, compare, p_words
from .. import plot_data, text
from ..facts import Facts
from ..run_set import RunSet
from ..section import Content, Section

# A title and sentences.
Comparison = tuple[str, list[str]]
# Dotted paths of the search file whose values are compared two by two.
_PATHS = ("model.network", "pruning.method")
_SPARSITIES = ("channel_sparsity", "weight_sparsity", "removable_channels")
_ACCURACIES = ("natural_accuracy", "robust_accuracy")
# How many runs, and values of a path, are compared at most: all pairs of them.
_MOST = 4
MOST_DIFFERENCES = 6
# How often a test draws again; less often for a large run set, whose fronts take long to compute.
_DRAWS, _LARGE = 1000, 10_000


def content(facts: Facts) -> Content | None:
    """None where there is only one kind of network, one method and one run."""
    run_set = facts.run_set
    found = [] if run_set.networks.empty else comparisons(run_set)
    if not found:
        return None
    drawn = differences(run_set)
    captions = [
        f"{text.listed(list(one['names']))}, in {text.metric(one['x'])} and {text.metric(one['y'])}"
        for one in drawn
    ]
    return Content({"comparisons": found, "differences": captions}, {"differences": drawn})


def comparisons(run_set: RunSet) -> list[Comparison]:
    """Kinds of networks at equal sparsity, then fronts: of networks, of methods, of runs."""
    return [*_at_equal(run_set), *_fronts(run_set), *_runs(run_set)]


def differences(run_set: RunSet) -> list[dict[str, Any]]:
    """Where in the plane of two objectives one side is attained more often, for the plots.

    Of runs, networks and methods with several sets of seeds (or runs) a side; at most `MOST_DIFFERENCES`.
    """
    asked = {o.name: o for o in run_set.objectives}
    found: list[dict[str, Any]] = []
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
    for path in _PATHS:
        for a, b in combinations(_values(run_set.networks, path), 2):
            yield (a, b), [run_set.networks[run_set.networks[path] == value] for value in (a, b)]


def _at_equal(run_set: RunSet) -> Iterator[Comparison]:
    """Kinds of networks at equal sparsity, parameters and accuracy, as the paper compares them."""
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
    said = list(dict.fromkeys(said))  # too few networks give the same sentence each time
    if {"resnet", "enresnet"} <= set(kinds):
        said.append(
            f"{paper.HEADLINE} Those figures are of CIFAR-10 after 200 epochs, on test images; the ones "
            f"above are of {run_set.dataset}, on validation images. {paper.LAST_EPOCH}"
        )
    yield "Networks, at equal sparsity, parameters and accuracy", said


def _fronts(run_set: RunSet) -> Iterator[Comparison]:
    """Fronts of two networks, or of two methods."""
    own = once(run_set.networks)
    for path in _PATHS:
        for a, b in combinations(_values(own, path), 2):
            sides, whole = (
                [part[part[path] == value] for value in (a, b)] for part in (own, run_set.networks)
            )
            yield (
                f"{path.partition('.')[2].capitalize()}: {label_words(a)} and {label_words(b)}",
                _compared(run_set, sides, whole, (a, b)),
            )


def _runs(run_set: RunSet) -> Iterator[Comparison]:
    own = once(run_set.networks)  # several seeds of a setting would favour the side that has them
    for i, j in combinations(range(min(len(run_set.runs), _MOST)), 2):
        names = (run_set.runs[i].name, run_set.runs[j].name)
        sides, whole = ([part[part["run"] == k] for k in (i, j)] for part in (own, run_set.networks))
        yield f"Runs: {names[0]} and {names[1]}", _compared(run_set, sides, whole, names)


def _compared(
    run_set: RunSet, sides: list[pd.DataFrame], whole: list[pd.DataFrame], names: tuple[str, str]
) -> list[str]:
    """Sentences on two sides.

    Args:
        run_set: both are of.
        sides: one network a setting.
        whole: with replicates, whose attainment is compared from seed to seed.
        names: of the sides.
    """
    if min(map(len, sides)) < LEAST:
        return [f"{len(sides[0])} and {len(sides[1])} networks are too few for a comparison."]
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
    """Largest difference in attainment between the sides' sets of seeds, in each two objectives."""
    asked = {o.name: o for o in run_set.objectives}
    for x, y in plot_data.pairs(run_set.objectives):
        if x not in asked or y not in asked:
            continue
        tested = attainment_test(sides[0], sides[1], [asked[x], asked[y]], run_set.searched, _draws(run_set))
        if tested is None:
            continue
        *ahead, p, count = tested
        plane = f"In {asked[x].label} and {asked[y].label}"
        sets = f"{'runs' if by_runs(*sides) else 'sets of seeds'} ({count} a side)"
        if max(ahead) == 0:
            yield f"{plane}, the {sets} of both sides attain the same places."
            continue
        # The one that is further ahead first.
        (most, name), (least, other) = sorted(zip(ahead, names, strict=True), key=lambda one: -one[0])
        elsewhere = f" (elsewhere by up to {100 * least:.0f} in favour of {other})" if least > 0 else ""
        fewest = 2 / comb(2 * count, count)
        few = ", the smallest possible with so few sets" * (p <= fewest * (1 + 1e-9) and fewest > 0.001)
        yield (
            f"{plane}, the share of the {sets} that attain a place differs by up to {100 * most:.0f} "
            f"percentage points in favour of {name}{elsewhere}; permutation test of no difference: "
            f"{p_words(p)}{few}."
        )


def _draws(run_set: RunSet) -> int:
    return _DRAWS if len(run_set.networks) <= _LARGE else _DRAWS // 10


def _values(networks: pd.DataFrame, path: str) -> list[str]:
    """The most frequent values of a searched text; none where it is not searched."""
    if path not in networks:
        return []
    counts = networks[path].dropna().value_counts()
    return sorted(str(value) for value in counts.index[:_MOST])


SECTION = Section.of_module(__file__, "Comparisons", "How they compare", content, in_thread=True)
