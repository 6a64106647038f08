"""Objectives: names and directions, one sign for everybody, and the stated reference of a hypervolume."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtune.errors import ObjectiveError
from rtune.metrics import METRICS
from rtune.pareto.fronts import Fronts, contributions
from rtune.pareto.hypervolume import hypervolume
from rtune.pareto.objectives import Objective, front_hypervolume, parse, parse_all, references, signed

ANY = st.sampled_from(METRICS.names())
DIRECTION = st.sampled_from(["", ":min", ":max"])


@given(ANY, DIRECTION)
def test_what_is_written_reads_back(name: str, direction: str) -> None:
    found = parse(name + direction)
    assert found.name == name
    assert found.maximise == {":min": False, ":max": True}.get(direction, METRICS[name].maximise)
    assert parse(str(found)) == found
    assert str(found) in (name, name + direction)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("speed", "objective 'speed' is none of natural_accuracy, .*macs"),
        ("macs:up", "objective 'macs:up' has the direction 'up'; it must be min or max"),
        ("macs:", "direction ''"),
    ],
)
def test_a_wrong_name_or_direction_is_said(asked: str, sentence: str) -> None:
    with pytest.raises(ObjectiveError, match=sentence):
        parse(asked)


def test_each_metric_may_be_there_once() -> None:
    with pytest.raises(ObjectiveError, match="'macs' is named twice"):
        parse_all(["macs", "macs:max"])


FIGURES = st.lists(st.floats(0, 1e6), min_size=2, max_size=2)


@given(st.lists(FIGURES, min_size=1, max_size=8))
def test_to_minimise_is_to_maximise_the_negative(rows: list[list[float]]) -> None:
    """Whoever compares signed points ranks `macs:min` as brute force does."""
    asked = [Objective("robust_accuracy"), Objective("macs", maximise=False)]
    points = [signed({"robust_accuracy": a, "macs": b}, asked) for a, b in rows]
    for (a, b), point in zip(rows, points, strict=True):
        for (c, d), other in zip(rows, points, strict=True):
            dominated = c >= a and d <= b and (c > a or d < b)
            assert dominated == (all(o >= p for o, p in zip(other, point, strict=True)) and other != point)


def test_the_reference_is_the_lower_bound_or_the_worst_network() -> None:
    asked = parse_all(["robust_accuracy", "macs:min", "weight_sparsity:min"])
    points = np.array([[0.5, -200.0, -0.1], [0.25, -100.0, -0.5]])
    assert references(points, asked).tolist() == [0.0, -200.0, -0.5]
    better = np.array([[1.0, 0.0, 0.0], [0.5, -200.0, -0.1], [0.25, -100.0, -0.5]])
    assert front_hypervolume(better, asked) == pytest.approx(1.0 * 200 * 0.5)
    # The first has the worst MACs and the second the highest sparsity: neither has a volume.
    assert front_hypervolume(points, asked) == 0
    assert front_hypervolume(np.empty((0, 3)), asked) == 0


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=6))
def test_fractions_to_maximise_have_the_hypervolume_above_zero(rows: list[list[float]]) -> None:
    asked = parse_all(["natural_accuracy", "robust_accuracy", "weight_sparsity"])
    assert front_hypervolume(np.array(rows), asked) == hypervolume(np.array(rows))


BROKEN = st.sampled_from([np.nan, np.inf, -np.inf])


@given(st.integers(1, 5), st.integers(1, 5), BROKEN, st.data())
def test_no_point_may_have_a_value_that_is_not_finite(
    n: int, k: int, value: float, data: st.DataObject
) -> None:
    """Also in four objectives and more, where a hypervolume with nan would not return."""
    points = np.random.default_rng(0).random((n, k))
    points[data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, k - 1))] = value
    asked = [Objective(name) for name in METRICS.names()[:k]]
    for refuses in (
        hypervolume,
        contributions,
        lambda p: references(p, asked),
        lambda p: front_hypervolume(p, asked),
        lambda p: [signed(dict(zip(METRICS.names(), row, strict=False)), asked) for row in p],
        lambda p: [Fronts().add(str(i), row) for i, row in enumerate(p)],
    ):
        with pytest.raises(ValueError, match=r"finite.* (nan|-?inf)"):
            refuses(points)
