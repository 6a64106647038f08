"""Fronts, hypervolume, knee and constraints against brute force and by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analysis
from analysis import constraints
from analysis.objectives import parse, parse_all
from analysis.report import figures
from rtune.errors import ObjectiveError

OBJECTIVES = ["natural_accuracy", "robust_accuracy", "weight_sparsity"]
COSTLY = ["robust_accuracy", "macs", "channel_sparsity:min"]
POINTS = st.lists(st.tuples(*[st.integers(0, 4).map(lambda v: v / 4)] * 3), max_size=12)


def frame(points: list[tuple[float, ...]], names: list[str] = OBJECTIVES) -> pd.DataFrame:
    rows = pd.DataFrame(points, columns=[name.partition(":")[0] for name in names], dtype=float)
    return rows.assign(trial=[f"t{i}" for i in range(len(rows))])


def undominated(points: list[tuple[float, ...]]) -> set[str]:
    """Of points of which more is better."""

    def dominated(p: tuple[float, ...]) -> bool:
        return any(q != p and all(a >= b for a, b in zip(q, p, strict=True)) for q in points)

    return {f"t{i}" for i, p in enumerate(points) if not dominated(p)}


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, ...]]) -> None:
    assert set(analysis.front(frame(points), OBJECTIVES)["trial"]) == undominated(points)


@given(POINTS)
def test_directions_turn_objectives_round(points: list[tuple[float, ...]]) -> None:
    """MACs are to be few by default, a sparsity where that is said."""
    turned = [(a, -b, -c) for a, b, c in points]
    found = analysis.front(frame(points, COSTLY), COSTLY)
    assert set(found["trial"]) == undominated(turned)
    assert found["robust_accuracy"].is_monotonic_decreasing
    assert set(analysis.front(frame(points, COSTLY), ["macs"])["macs"]) <= {
        min(p[1] for p in points or [(0, 0)])
    }


@given(POINTS)
def test_hypervolume_counts_the_dominated_cells(points: list[tuple[float, ...]]) -> None:
    """On a grid of quarters the volume is the number of dominated cells / 64."""
    cells = sum(
        any(all(c < 4 * v for c, v in zip(cell, p, strict=True)) for p in points)
        for cell in itertools.product(range(4), repeat=3)
    )
    assert analysis.hypervolume(np.array(points).reshape(-1, 3)) == pytest.approx(cells / 64)
    assert analysis.hypervolume(frame(points), OBJECTIVES) == pytest.approx(cells / 64)


@given(POINTS)
def test_hypervolume_of_costs_is_that_above_the_worst(points: list[tuple[float, ...]]) -> None:
    rows = frame(points, COSTLY)
    worst = analysis.reference(rows, COSTLY)
    if points:
        assert worst == {
            "robust_accuracy": 0.0,
            "macs": rows["macs"].max(),
            "channel_sparsity": rows["channel_sparsity"].max(),
        }
    turned = np.array([(a, worst["macs"] - b, worst["channel_sparsity"] - c) for a, b, c in points]).reshape(
        -1, 3
    )
    assert analysis.hypervolume(rows, COSTLY, worst) == pytest.approx(analysis.hypervolume(turned))


def test_rows_without_an_objective_are_left_out() -> None:
    rows = frame([(0.5, 0.5, 0.5), (0.9, 0.9, 0.9)])
    rows.loc[1, "robust_accuracy"] = np.nan
    assert analysis.front(rows, OBJECTIVES)["trial"].tolist() == ["t0"]
    assert analysis.hypervolume(rows, OBJECTIVES) == pytest.approx(0.125)
    rows.loc[0, "robust_accuracy"] = np.nan
    assert analysis.front(rows, OBJECTIVES).empty
    assert analysis.knee(rows, OBJECTIVES) is None


def test_the_knee_gives_up_least() -> None:
    rows = frame([(0.0, 1.0), (0.8, 0.7), (0.9, 0.2), (1.0, 0.0), (0.7, 0.6)], OBJECTIVES[:2])
    found = analysis.knee(rows, OBJECTIVES[:2])
    assert found is not None
    assert found["trial"] == "t1"
    scaled = rows.assign(natural_accuracy=rows["natural_accuracy"] / 1000)
    again = analysis.knee(scaled, OBJECTIVES[:2])
    assert again is not None
    assert again["trial"] == "t1"
    alone = analysis.knee(rows[4:], OBJECTIVES[:2])
    assert alone is not None
    assert alone["trial"] == "t4"


@pytest.mark.parametrize(
    ("names", "points", "corners"),
    [
        # More of both: down, then right.
        (
            ["natural_accuracy", "robust_accuracy"],
            [(0.2, 0.9), (0.6, 0.5), (0.5, 0.4), (0.8, 0.1), (0.8, 0.1)],
            [[0.2, 0.9], [0.2, 0.5], [0.6, 0.5], [0.6, 0.1], [0.8, 0.1]],
        ),
        # Few MACs, much accuracy: right, then up.
        (["macs", "robust_accuracy"], [(1, 0.2), (3, 0.7), (2, 0.1)], [[1, 0.2], [3, 0.2], [3, 0.7]]),
        (["robust_accuracy", "macs"], [(0.2, 1), (0.7, 3)], [[0.2, 1], [0.2, 3], [0.7, 3]]),
        (["parameters", "macs"], [(1, 3), (2, 1)], [[1, 3], [2, 3], [2, 1]]),
    ],
)
def test_the_staircase_bounds_what_the_pair_dominates(
    names: list[str], points: list[tuple[float, ...]], corners: list[list[float]]
) -> None:
    x, y = parse_all(names)
    assert figures.staircase(frame(points, names), x, y).tolist() == corners


def test_the_best_under_constraints() -> None:
    rows = frame([(0.9, 0.40, 0.9), (0.8, 0.45, 0.6), (0.7, 0.50, 0.7), (0.6, 0.60, 0.1)])
    rows.loc[3, "weight_sparsity"] = np.nan
    limits = ["robust_accuracy>=0.45", "natural_accuracy < 0.8"]
    assert constraints.best(rows, "weight_sparsity", limits[:1])["trial"].tolist() == ["t2", "t1"]
    assert constraints.best(rows, "weight_sparsity:min", limits[:1])["trial"].tolist() == ["t1", "t2"]
    assert constraints.where(rows, limits)["trial"].tolist() == ["t2", "t3"]
    assert constraints.where(rows, ["weight_sparsity<=1"])["trial"].tolist() == ["t0", "t1", "t2"]
    assert constraints.where(rows, ["robust_accuracy==0.6"])["trial"].tolist() == ["t3"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("robust_accuracy", "is not a metric, one of >= <= > < == and a number"),
        ("robust>=0.4", "'robust' is none of natural_accuracy, robust_accuracy"),
        ("robust_accuracy>=much", "'much' is no number"),
        ("robust_accuracy>=nan", "'nan' is no number"),
        ("robust_accuracy>=", "is not a metric, one of >= <= > < == and a number"),
        ("__import__('os')>=1", "is not a metric"),
        ("", "is not a metric"),
    ],
)
def test_a_bad_constraint_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(
        ObjectiveError, match=f"^constraint {text!r}".replace("(", r"\(").replace(")", r"\)")
    ) as found:
        constraints.parse_constraint(text)
    assert words in str(found.value)


@pytest.mark.parametrize("text", ["accuracy", "macs:most", "macs:", ":min", ""])
def test_a_bad_objective_is_one_sentence(text: str) -> None:
    with pytest.raises(ObjectiveError, match=r"^objective .* (is none of|has the direction)"):
        parse(text)
