"""Early stopping by Pareto rank: the fast rungs beside a plain slow version, and what must never happen."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtune.config import rungs
from rtune.pareto.fronts import Fronts, contributions
from rtune.search.halving import ParetoHalving

# Coarse, so that equal points and equal coordinates are frequent.
POINT = st.tuples(*[st.integers(0, 6).map(lambda v: v / 6)] * 3)
POINTS = st.lists(POINT, min_size=1, max_size=30)


def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


def slow_ranks(points: list[tuple[float, ...]]) -> list[int]:
    """Non-domination ranks by the definition."""
    ranks: dict[int, int] = {}
    left, rank = set(range(len(points))), 0
    while left:
        best = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        ranks |= dict.fromkeys(best, rank)
        left -= best
        rank += 1
    return [ranks[i] for i in range(len(points))]


class SlowHalving:
    """One rung at epoch 1 by the rules: all points sorted anew at each question."""

    def __init__(self, eta: int) -> None:
        self.eta, self.points, self.broken, self.waiting = eta, {}, 0, set()

    def order(self) -> list[str]:
        names = list(self.points)
        points = [self.points[name] for name in names]
        ranks = slow_ranks(points)
        gain = np.empty(len(points))
        for rank in set(ranks):
            members = [i for i, r in enumerate(ranks) if r == rank]
            gain[members] = contributions(np.array([points[i] for i in members]))
        return [names[i] for i in sorted(range(len(names)), key=lambda i: (ranks[i], -round(gain[i], 9)))]

    def quota(self, leniency: Fraction = Fraction(1)) -> int:
        return max(1, int((len(self.points) + self.broken) * leniency / self.eta))

    def report(self, name: str, point: tuple[float, ...]) -> bool:
        self.points[name] = point
        keep = name in self.order()[: self.quota()]
        if not keep:
            self.waiting.add(name)
        return keep

    def promotable(self, leniency: Fraction) -> set[str]:
        return self.waiting & set(self.order()[: self.quota(leniency)])


def fill(halving: ParetoHalving, points: list[tuple[float, ...]], epoch: int = 1) -> None:
    for i, point in enumerate(points):
        halving.report(f"old{i}", epoch, point)


def test_rungs_are_grace_times_powers_of_eta_up_to_half_of_the_epochs() -> None:
    assert rungs.levels(3, 3, 81) == [3, 9, 27]
    assert rungs.levels(1, 3, 12) == [1, 3]
    assert rungs.levels(7, 3, 8) == [7]
    assert rungs.levels(5, 2, 5) == []
    assert [rungs.default_grace(3, n) for n in (1, 8, 12, 200)] == [1, 1, 1, 22]


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_promotion_quota_grows_from_one_in_eta_to_one_in_sqrt_eta(eta: int) -> None:
    grown = [rungs.quota(1200, eta, rungs.leniency(begun, 60, eta)) for begun in range(61)]
    assert grown[0] == rungs.quota(1200, eta) == 1200 // eta
    assert grown == sorted(grown)
    assert grown[-1] == pytest.approx(1200 / eta**0.5, abs=1)
    # A resume with fewer trials than have begun.
    assert rungs.leniency(90, 60, eta) == rungs.leniency(60, 60, eta)


@given(POINTS)
def test_incremental_ranks_equal_those_of_a_full_sort(points: list[tuple[float, ...]]) -> None:
    fronts = Fronts()
    for i, point in enumerate(points):
        fronts.add(str(i), np.array(point))
    found = {name: rank for rank, names in enumerate(fronts.ranked()) for name in names}
    assert [found[str(i)] for i in range(len(points))] == slow_ranks(points)


@given(
    st.lists(st.tuples(st.sampled_from("ttttd"), st.tuples(*[st.floats(0, 1)] * 3)), max_size=40),
    st.integers(2, 4),
    st.sampled_from([Fraction(1), Fraction(5, 4), Fraction(3, 2)]),
)
def test_fast_rung_decides_like_the_reference_implementation(
    events: list[tuple[str, tuple[float, ...]]], eta: int, leniency: Fraction
) -> None:
    fast, slow = ParetoHalving([1], eta), SlowHalving(eta)
    for i, (kind, exact) in enumerate(events):
        point = tuple(round(v, 3) for v in exact)
        if kind == "d":
            fast.diverged(f"t{i}", 1)
            slow.broken += 1
        else:
            # Contributions that are equal in exact arithmetic may part by rounding: leave those cases.
            keep = slow.report(f"t{i}", point)
            gains = contributions(np.array(list(slow.points.values())))
            if len({round(g, 9) for g in gains}) < len(gains):
                return
            assert fast.report(f"t{i}", 1, point).keep == keep
        promoted = fast.promotable(float(leniency))
        assert (promoted is None) == (not slow.promotable(leniency))
        if promoted is not None:
            assert promoted in slow.promotable(leniency)
            fast.promote(promoted)
            slow.waiting.discard(promoted)


@given(st.lists(POINT, max_size=20), st.integers(2, 4))
def test_new_trial_that_dominates_all_is_never_stopped(points: list[tuple[float, ...]], eta: int) -> None:
    halving = ParetoHalving([1], eta)
    fill(halving, points)
    best = tuple(max([p[k] for p in points], default=0) + 0.01 for k in range(3))
    verdict = halving.report("new", 1, best)
    assert verdict.keep
    assert (verdict.position, verdict.size) == (1, len(points) + 1)


def test_dominating_trial_continues_in_the_case_that_moasha_gets_wrong() -> None:
    """(1,1), (2,2), (3,3) recorded, eta 3, objectives minimised: the newcomer (0,0) goes on."""
    halving = ParetoHalving([1, 3], 3)
    fill(halving, [(-1, -1), (-2, -2), (-3, -3)])
    assert halving.report("new", 1, (0, 0)).keep
    assert not halving.report("worst", 1, (-4, -4)).keep


@given(POINTS, st.tuples(*[st.sampled_from([0.125, 0.5, 2.0, 8.0])] * 3), st.permutations(range(3)))
def test_ranks_do_not_depend_on_scale_or_order_of_objectives(
    points: list[tuple[float, ...]], scale: tuple[float, ...], relabel: list[int]
) -> None:
    def ranks(moved: list[tuple[float, ...]]) -> list[int]:
        fronts = Fronts()
        for i, point in enumerate(moved):
            fronts.add(str(i), np.array(point))
        found = {name: rank for rank, names in enumerate(fronts.ranked()) for name in names}
        return [found[str(i)] for i in range(len(moved))]

    moved = [tuple(p[k] * scale[k] for k in relabel) for p in points]
    assert ranks(points) == ranks(moved)


@given(POINTS, st.tuples(*[st.sampled_from([0.25, 4.0])] * 3), st.permutations(range(3)))
def test_contributions_do_not_depend_on_scale_or_order_of_objectives(
    points: list[tuple[float, ...]], scale: tuple[float, ...], relabel: list[int]
) -> None:
    front = np.array([p for p, rank in zip(points, slow_ranks(points), strict=True) if rank == 0])
    assert contributions((front * scale)[:, relabel]) == pytest.approx(contributions(front), abs=1e-12)


# As accuracies over ten images: points that add the same to a front are common.
GRID = st.lists(st.tuples(*[st.integers(0, 10).map(lambda i: i / 10)] * 3), min_size=1, max_size=12)


@settings(max_examples=300)
@given(
    GRID, st.tuples(*[st.sampled_from([1e-3, 1.0, 3.0, 100.0])] * 3), st.permutations(range(3)), st.booleans()
)
@example([(0.1, 0.7, 0.8), (0.3, 0.2, 0.4), (0.7, 0.7, 0.2)], (1, 1, 1), [2, 1, 0], False)
@example([(0.7, 0.8, 0.4), (0.9, 0.8, 0.2), (0.7, 0.5, 0.6), (0.1, 0.9, 0.5)], (100, 1, 1), [0, 1, 2], False)
@example([(0.4, 0.6, 0), (0.5, 0.5, 0), (0.3, 0.7, 0), (0.4, 0.6, 0)], (100, 1, 1), [0, 1, 2], True)
def test_decisions_do_not_depend_on_scale_or_order_of_objectives(
    points: list[tuple[float, ...]], scale: tuple[float, ...], relabel: list[int], two: bool
) -> None:
    def history(moved: list[tuple[float, ...]]) -> list[object]:
        halving, told = ParetoHalving([1], 2), []
        for i, point in enumerate(moved):
            told.append(halving.report(f"t{i}", 1, point))
            told.append((halving.promotable(), halving.promotable(1.5)))
        return told

    kept = [k for k in relabel if k < 2] if two else relabel
    labels = sorted(kept)
    plain = [tuple(p[k] for k in labels) for p in points]
    assert history(plain) == history([tuple(p[k] * scale[k] for k in kept) for p in points])


@given(st.permutations(range(12)))
def test_promoted_trials_do_not_depend_on_the_order_of_arrival(order: list[int]) -> None:
    rng = np.random.default_rng(5)
    points = [tuple(p) for p in rng.random((12, 3))]

    def gone_on(order: list[int]) -> set[str]:
        halving = ParetoHalving([1], 3)
        kept = {f"t{i}" for i in order if halving.report(f"t{i}", 1, points[i]).keep}
        while (name := halving.promotable()) is not None:
            halving.promote(name)
            kept.add(name)
        return kept

    # The best n / eta have all gone on; whoever else has was among the best when it was asked.
    slow = SlowHalving(3)
    slow.points = {f"t{i}": points[i] for i in range(12)}
    assert set(slow.order()[:4]) <= gone_on(order)


def test_network_of_zeros_is_stopped_although_it_is_the_sparsest() -> None:
    halving = ParetoHalving([1], 3)
    fill(halving, [(0.95, 0.7, 0.0), (0.93, 0.68, 0.6)])
    assert halving.report("dead", 1, (0.1, 0.1, 0.97)).position == 3


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_fraction_of_continued_trials_tends_to_one_in_eta(eta: int) -> None:
    """At once, or after waiting: never fewer than n / eta, and more only by early luck."""
    rng = np.random.default_rng(0)
    halving = ParetoHalving([1], eta)
    gone_on = 0
    for i in range(1500):
        gone_on += halving.report(str(i), 1, tuple(rng.random(3))).keep
        while (name := halving.promotable()) is not None:
            halving.promote(name)
            gone_on += 1
    assert Fraction(gone_on, 1500) >= Fraction(1500 // eta, 1500)
    assert gone_on / 1500 == pytest.approx(1 / eta, abs=0.06)


def test_trial_is_recorded_once_per_rung_with_the_metrics_of_that_rung() -> None:
    halving = ParetoHalving([1, 2, 4], 2)
    fill(halving, [(0.5, 0.5)] * 3, 4)
    assert [len(rung.recorded) for rung in halving.brackets[0]] == [0, 0, 3]
    first = halving.report("x", 4, (0.9, 0.9))
    assert first.rung == 4
    assert halving.report("x", 5, (0.0, 0.0)).rung is None


def test_diverged_trials_are_last_and_count() -> None:
    halving = ParetoHalving([2, 4], 2)
    for i in range(3):
        halving.diverged(f"d{i}", 1)
    verdict = halving.report("weak", 2, (0.01, 0.01))
    assert verdict.keep
    assert (verdict.position, verdict.size) == (1, 4)


def test_brackets_alternate_and_compare_only_their_own_trials() -> None:
    halving = ParetoHalving([1, 3, 9], 3, brackets=2)
    assert halving.report("t0001", 1, (0.9, 0.9)).rung == 1
    assert halving.report("t0002", 1, (0.1, 0.1)).rung is None
    assert halving.report("t0002", 3, (0.1, 0.1)).position == 1
    assert halving.report("t0001", 3, (0.9, 0.9)).size == 1


def test_contributions_of_more_than_three_objectives_use_distances() -> None:
    points = np.array([[0, 0, 0, 1.0], [0, 0, 1.0, 0], [0, 1.0, 0, 0], [0, 0.9, 0.05, 0]])
    gains = contributions(points)
    assert gains.shape == (4,)
    assert gains[3] < gains[0]
    assert contributions(points[:1]).tolist() == [0.0]


@given(st.lists(st.tuples(*[st.integers(0, 3).map(float)] * 3), min_size=1, max_size=8), st.data())
def test_a_twin_takes_nothing_from_what_its_front_member_adds(
    points: list[tuple[float, ...]], data: st.DataObject
) -> None:
    """In two to four objectives: equal points have the contribution of one of them alone."""
    two_to_four = data.draw(st.integers(2, 4))
    wide = [(*point, sum(point))[:two_to_four] for point in points]
    front = sorted({p for p, rank in zip(wide, slow_ranks(wide), strict=True) if rank == 0})
    alone = dict(zip(front, contributions(np.array(front)), strict=True))
    twins = data.draw(st.permutations(front + data.draw(st.lists(st.sampled_from(front), max_size=4))))
    assert contributions(np.array(twins)).round(9).tolist() == [round(alone[p], 9) for p in twins]


@given(GRID, st.integers(0, 11))
def test_a_twin_changes_the_order_of_no_others_and_comes_after_its_equal(
    points: list[tuple[float, ...]], which: int
) -> None:
    def order() -> list[str]:
        return sorted(names, key=fronts.position)

    distinct = list(dict.fromkeys(points))
    fronts, names = Fronts(), [str(i) for i in range(len(distinct))]
    for name, point in zip(names, distinct, strict=True):
        fronts.add(name, np.array(point))
    before, equal = order(), str(which % len(distinct))
    names.append("twin")
    fronts.add("twin", np.array(distinct[int(equal)]))
    after = order()
    assert [name for name in after if name != "twin"] == before
    # Between them only others that add exactly as much.
    assert after.index("twin") > after.index(equal)


def test_the_best_two_that_are_equal_are_before_a_weaker_member() -> None:
    """(0.9, 0.9) adds the most to its front, however often it is there."""
    halving = ParetoHalving([1], 2)
    fill(halving, [(0.95, 0.1), (0.9, 0.9), (0.1, 0.95)])
    verdict = halving.report("twin", 1, (0.9, 0.9))
    assert (verdict.position, verdict.keep) == (2, True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_trial_without_finite_objectives_is_refused_and_leaves_no_trace(value: float) -> None:
    halving = ParetoHalving([1], 2)
    fill(halving, [(0.5, 0.5)])
    with pytest.raises(ValueError, match="finite"):
        halving.report("x", 1, (value, 0.9))
    verdict = halving.report("x", 1, (0.6, 0.9))
    assert (verdict.position, verdict.size) == (1, 2)
