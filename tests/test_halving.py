"""Early stopping by Pareto rank."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtune.search.halving import ParetoHalving, order

POINT = st.tuples(*[st.floats(0, 1).map(lambda v: round(v, 2))] * 3)


def slow_ranks(points: list[tuple[float, ...]]) -> list[int]:
    """Non-domination ranks by the definition."""
    ranks: dict[int, int] = {}
    left, rank = set(range(len(points))), 0
    while left:
        best = {
            i
            for i in left
            if not any(
                all(a >= b for a, b in zip(points[j], points[i], strict=True)) and points[j] != points[i]
                for j in left
            )
        }
        ranks |= dict.fromkeys(best, rank)
        left -= best
        rank += 1
    return [ranks[i] for i in range(len(points))]


def fill(halving: ParetoHalving, points: list[tuple[float, ...]], epoch: int) -> None:
    for i, point in enumerate(points):
        halving.report(f"old{i}", epoch, point)


def test_rungs_are_grace_times_powers_of_eta_below_the_end() -> None:
    assert list(ParetoHalving(3, 3, 81).rungs) == [3, 9, 27]
    assert list(ParetoHalving(5, 2, 5).rungs) == []


@given(st.lists(POINT, min_size=1, max_size=25))
def test_the_order_respects_the_ranks(points: list[tuple[float, ...]]) -> None:
    ranks = slow_ranks(points)
    ordered = [ranks[i] for i in order(np.array(points))]
    assert ordered == sorted(ordered)


@given(st.lists(POINT, max_size=20), st.integers(2, 4))
def test_a_newcomer_that_dominates_all_is_never_stopped(points: list[tuple[float, ...]], eta: int) -> None:
    halving = ParetoHalving(1, eta, 100)
    fill(halving, points, 1)
    best = tuple(max([p[k] for p in points], default=0) + 0.01 for k in range(3))
    verdict = halving.report("new", 1, best)
    assert verdict.keep
    assert (verdict.position, verdict.size) == (1, len(points) + 1)


def test_the_recorded_case_that_a_peer_gets_wrong() -> None:
    """(1,1), (2,2), (3,3) recorded, eta 3, objectives minimised: the newcomer (0,0) goes on."""
    halving = ParetoHalving(1, 3, 9)
    fill(halving, [(-1, -1), (-2, -2), (-3, -3)], 1)
    assert halving.report("new", 1, (0, 0)).keep
    assert not halving.report("worst", 1, (-4, -4)).keep


@given(
    st.lists(POINT, min_size=1, max_size=15), st.tuples(*[st.floats(0.1, 10)] * 3), st.permutations(range(3))
)
def test_scaling_and_relabelling_objectives_change_no_order(
    points: list[tuple[float, ...]], scale: tuple[float, ...], relabel: list[int]
) -> None:
    array = np.array(points)
    moved = (array * np.array(scale))[:, relabel]
    # Contributions that are equal in exact arithmetic may part by rounding: compare the ranks' runs.
    first = [slow_ranks(points)[i] for i in order(array)]
    second = [slow_ranks(points)[i] for i in order(moved)]
    assert first == second


def test_a_network_of_zeros_does_not_survive_by_being_the_sparsest() -> None:
    dense, good, dead = (0.95, 0.7, 0.0), (0.93, 0.68, 0.6), (0.1, 0.1, 0.97)
    assert [int(i) for i in order(np.array([dead, dense, good]))] == [2, 1, 0]


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_the_surviving_share_tends_to_one_in_eta(eta: int) -> None:
    rng = np.random.default_rng(0)
    halving = ParetoHalving(1, eta, 100)
    kept = [halving.report(str(i), 1, tuple(rng.random(3))).keep for i in range(600)]
    assert np.mean(kept[100:]) == pytest.approx(1 / eta, abs=0.05)


def test_a_trial_is_judged_once_a_rung_and_never_at_a_lower_one_with_later_figures() -> None:
    halving = ParetoHalving(1, 2, 8)
    fill(halving, [(0.5, 0.5)] * 3, 4)
    assert halving.rungs[1] == halving.rungs[2] == {}
    first = halving.report("x", 4, (0.9, 0.9))
    assert first.rung == 4
    assert halving.report("x", 5, (0.0, 0.0)).rung is None


def test_diverged_trials_stand_last_and_count() -> None:
    halving = ParetoHalving(2, 2, 8)
    for i, name in itertools.product(range(3), "d"):
        halving.diverged(f"{name}{i}", 1)
    verdict = halving.report("weak", 2, (0.01, 0.01))
    assert verdict.keep
    assert (verdict.position, verdict.size) == (1, 4)
