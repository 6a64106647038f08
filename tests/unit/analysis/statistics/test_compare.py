"""Two sets of networks side by side, against brute force, cases by hand and simulated searches."""

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.front import hypervolume
from analysis.statistics.attainment import attainment_difference, attainment_test
from analysis.statistics.by_kind import at_equal, by_kind
from analysis.statistics.compare import compare

OBJECTIVES = ["natural_accuracy", "robust_accuracy", "weight_sparsity"]
PAIR = ["robust_accuracy", "weight_sparsity"]
CELL = st.integers(0, 4)
POINTS = st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=8)


def frame(rows: Any, names: list[str] = PAIR, **columns: Any) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=names, dtype=float)
    return made.assign(trial=[f"t{i:04d}" for i in range(len(made))], epoch=3, **columns)


def grid(points: list[tuple[int, int, int]]) -> pd.DataFrame:
    """Quarters: two accuracies, and a cost that is the lower the higher the third."""
    rows = [(x / 4, y / 4, 400 - 100 * z) for x, y, z in points]
    return frame(rows, [*OBJECTIVES[:2], "macs"])


def search(n: int, rng: np.random.Generator, shift: float = 0.0) -> pd.DataFrame:
    sparsity, loss = rng.beta(1.5, 1.5, n), rng.beta(2, 2, n)
    robust = 0.52 - 0.2 * sparsity**3 - 0.3 * loss + rng.normal(0, 0.02, n) + shift
    natural = 0.85 - 0.25 * sparsity**2 - 0.4 * loss + rng.normal(0, 0.02, n) + shift
    return frame(np.stack([natural, robust, sparsity], axis=1).clip(0, 1), OBJECTIVES)


@settings(deadline=None)
@given(POINTS, POINTS)
def test_hypervolumes_count_the_dominated_cells(a: Any, b: Any) -> None:
    """From a reference that is the dearest of both sides."""
    found = compare(grid(a), grid(b), [*OBJECTIVES[:2], "macs"], draws=2)
    worst = min(z for *_, z in [*a, *b])
    for points, volume in zip((a, b), found.hypervolumes, strict=True):
        cells = sum(
            any(all(c < v for c, v in zip(cell, (x, y, z - worst), strict=True)) for x, y, z in points)
            for cell in itertools.product(range(4), repeat=3)
        )
        assert volume == pytest.approx(100 * cells / 16)
        assert volume == pytest.approx(hypervolume(grid(points), [*OBJECTIVES[:2], "macs"], found.reference))


@settings(deadline=None)
@given(POINTS, POINTS)
def test_epsilon_is_the_least_gain_that_reaches_everything(a: Any, b: Any) -> None:
    found = compare(grid(a), grid(b), [*OBJECTIVES[:2], "macs"], draws=2)
    assert found.epsilons is not None
    dearest = max(members["macs"].max() for members in found.fronts)
    scaled = [[(x / 4, y / 4, -(400 - 100 * z) / (dearest or 1)) for x, y, z in points] for points in (a, b)]
    for (mine, theirs), epsilon in zip((scaled, scaled[::-1]), found.epsilons, strict=True):
        lacking = (min(max(np.subtract(q, p)) for p in mine) for q in theirs)
        assert epsilon == pytest.approx(max(lacking))


def test_a_set_is_as_good_as_itself_in_any_order() -> None:
    networks = search(40, np.random.default_rng(0))
    found = compare(networks, networks.sample(frac=1, random_state=0), OBJECTIVES, draws=200)
    assert (found.ratio, found.epsilons) == (1.0, (0.0, 0.0))
    assert found.p_value == pytest.approx(1.0, abs=0.15)
    assert found.ratio_low is not None
    assert found.ratio_high is not None
    assert found.ratio_low < 1 < found.ratio_high
    assert "is at least as good as" in found.sentences()[2]


def test_nothing_hangs_on_the_order_of_rows_and_all_on_the_seed() -> None:
    a, b = (search(30, np.random.default_rng(seed)).assign(x=np.arange(30) // 2) for seed in (1, 2))
    shuffled = [side.sample(frac=1, random_state=3) for side in (a, b)]
    for searched in ([], ["x"]):
        one = compare(a, b, OBJECTIVES, draws=100, searched=searched)
        other = compare(shuffled[0], shuffled[1], OBJECTIVES, draws=100, searched=searched)
        reseeded = compare(a, b, OBJECTIVES, draws=100, searched=searched, seed=1)
        assert (one.ratio_low, one.p_value, one.epsilons) == (other.ratio_low, other.p_value, other.epsilons)
        assert one.ratio_low != reseeded.ratio_low


def test_networks_without_an_objective_are_left_out() -> None:
    a, b = frame([(0.5, 0.5), (np.nan, 0.9)]), frame([(0.5, 0.25)])
    found = compare(a, b, PAIR, draws=10, images=100)
    assert found.sizes == (1, 1)
    assert (found.ratio, found.ratio_low) == (2.0, None)
    assert found.epsilons == (0.0, 0.25)
    assert found.noise == pytest.approx(1.96 * math.sqrt(2 * 0.25 / 102), rel=1e-4)
    assert found.sentences("old", "new")[2:] == [
        "old is at least as good as new everywhere.",
        "new would have to improve by 0.250 in every objective to be at least as good as old everywhere "
        "(additive epsilon indicator).",
        "Permutation test of no difference between these two figures: p = 1.000.",
        "Two accuracies must differ by more than 0.137 to differ significantly (5 % level), given the number "
        "of images.",
    ]


@pytest.mark.parametrize("empty", [(0,), (1,), (0, 1)])
def test_a_side_without_networks_is_said_to_be_one(empty: tuple[int, ...]) -> None:
    sides = [frame([(0.5, 0.5)] * (i not in empty)) for i in (0, 1)]
    found = compare(sides[0], sides[1], PAIR, draws=10)
    assert found.ratio == {(0,): 0.0, (1,): None, (0, 1): None}[empty]
    assert (found.p_value, found.epsilons, found.ratio_low) == (None, None, None)
    assert found.sentences()[1] == "Without networks on both sides there is nothing to compare."


def test_no_hypervolume_is_no_ratio() -> None:
    found = compare(frame([(0.5, 0.5)] * 4), frame([(0.5, 0.0)] * 4), PAIR, draws=10)
    assert (found.ratio, found.ratio_low) == (None, None)
    assert "no hypervolume" in found.sentences()[1]
    given = compare(
        frame([(0.5, 0.5)]),
        frame([(0.5, 0.2)]),
        PAIR,
        {"robust_accuracy": 0.4, "weight_sparsity": 0},
        draws=5,
    )
    assert given.hypervolumes == pytest.approx((0.05, 0.02))


def epsilon(mine: np.ndarray, theirs: np.ndarray) -> float:
    return max(min(max(q - p) for p in mine) for q in theirs)


def test_p_values_are_those_of_all_divisions() -> None:
    """Three against three: twenty divisions, all of which can be looked at."""
    a, b = frame([(0.9, 0.8), (0.7, 0.9), (0.8, 0.85)]), frame([(0.5, 0.4), (0.6, 0.2), (0.75, 0.3)])
    together = pd.concat([a, b])[PAIR].to_numpy()

    def differences(left: tuple[int, ...]) -> tuple[float, float]:
        sides = together[list(left)], together[[i for i in range(6) if i not in left]]
        return (
            hypervolume(sides[0]) - hypervolume(sides[1]),
            epsilon(*sides) - epsilon(*sides[::-1]),
        )

    every = np.array([differences(left) for left in itertools.combinations(range(6), 3)])
    expected = np.mean(np.abs(every) >= np.abs(differences((0, 1, 2))) - 1e-12, axis=0)
    found = compare(a, b, PAIR, draws=20)
    assert (found.p_value, found.epsilon_p) == pytest.approx(tuple(expected))
    some = [compare(a, b, PAIR, draws=19, seed=seed) for seed in range(200)]  # fewer than there are
    assert min(one.p_value for one in some) >= 1 / 20  # the observed one is among them
    assert len({one.p_value for one in some}) > 1


@pytest.mark.parametrize("sizes", [(20, 20), (40, 10)])
def test_p_values_of_equal_searches_are_uniform(sizes: tuple[int, int]) -> None:
    found = []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        one = compare(search(sizes[0], rng), search(sizes[1], rng), OBJECTIVES, draws=50, seed=seed)
        found.append((one.p_value, one.epsilon_p))
    for p_values in np.array(found).T:
        assert stats.kstest(p_values, "uniform").pvalue > 0.001
        assert np.mean(p_values <= 0.1) < 0.2


def test_the_interval_of_the_ratio_holds() -> None:
    """Over simulated searches, of the ratio of the mean hypervolumes of such searches."""

    def volume(seed: int, shift: float) -> float:
        return hypervolume(search(40, np.random.default_rng(seed), shift)[PAIR].to_numpy())

    truth = np.mean([volume(s, 0.03) for s in range(1000, 1500)]) / np.mean(
        [volume(s, 0) for s in range(3000, 3500)]
    )
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found = compare(search(40, rng, 0.03), search(40, rng), PAIR, draws=60)
        assert found.ratio_low is not None
        assert found.ratio_high is not None
        held += found.ratio_low <= truth <= found.ratio_high
    assert held >= 50


def test_replicates_count_as_one_trial() -> None:
    """Every network twice is no more evidence than once."""
    a, b = (search(30, np.random.default_rng(seed), seed / 50).assign(x=np.arange(30)) for seed in (1, 2))
    twice = [pd.concat([side, side.assign(trial=side["trial"] + "r1")]) for side in (a, b)]
    once = compare(a, b, OBJECTIVES)
    known = compare(twice[0], twice[1], OBJECTIVES, searched=["x"])
    unknown = compare(twice[0], twice[1], OBJECTIVES)
    widths = [
        math.log(c.ratio_high / c.ratio_low) for c in (once, known, unknown) if c.ratio_high and c.ratio_low
    ]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)
    assert widths[2] < 0.8 * widths[0]
    assert known.p_value == pytest.approx(once.p_value, abs=0.08)


SETS = st.lists(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=3), min_size=2, max_size=4)


@settings(deadline=None)
@given(SETS, SETS, st.booleans())
def test_attainment_differs_as_counted(a: Any, b: Any, cheap: bool) -> None:
    names = ["natural_accuracy", "macs" if cheap else "robust_accuracy"]
    sign = np.array([1, -1 if cheap else 1])
    sides = [
        frame(
            [p * sign for one in sets for p in np.array(one)],
            names,
            run=[i for i, one in enumerate(sets) for _ in one],
        )
        for sets in (a, b)
    ]
    found = attainment_difference(sides[0], sides[1], names)
    assert found is not None
    count = min(len(a), len(b))
    for place in itertools.product(np.arange(0.5, 4), repeat=2):
        attained = [
            sum(any((np.array(p) >= place).all() for p in one) for one in sets[:count]) for sets in (a, b)
        ]
        x, y = place * sign
        holds = found["x_low"].lt(x) & found["x_high"].gt(x) & found["y_low"].lt(y) & found["y_high"].gt(y)
        assert holds.sum() <= 1
        assert found.loc[holds, "difference"].sum() == pytest.approx((attained[0] - attained[1]) / count)
    tested = attainment_test(sides[0], sides[1], names, draws=5)
    assert tested is not None
    differences = [0.0, *found["difference"]]
    assert tested[:2] == pytest.approx((max(differences), -min(differences)))


def test_attainment_is_compared_over_seeds_too() -> None:
    a = frame([(0.6, 0.5), (0.7, 0.5)], x=0)
    b = frame([(0.5, 0.5), (0.6, 0.5)], x=0)
    found = compare(a, b, PAIR, draws=5, searched=["x"]).attainment
    assert found is not None
    # Up to 0.5 both always, to 0.6 A always and B once in two, to 0.7 A once in two.
    assert sorted(found["difference"]) == [0.5, 0.5]
    assert (found["x_low"].min(), found["x_high"].max(), found["y_high"].max()) == (0.5, 0.7, 0.5)
    assert compare(a, b, PAIR, draws=5).attainment is None
    assert attainment_difference(a, b.iloc[:1], PAIR, ["x"]) is None
    with pytest.raises(ValueError, match="two"):
        attainment_difference(a, b, OBJECTIVES)


def test_the_attainment_test_looks_at_every_division_of_few_sets() -> None:
    """Three sets a side of one network each, on a line: those of one side are all better."""
    sides = [frame([(x, 0.5) for x in xs], run=range(3)) for xs in ((0.7, 0.8, 0.9), (0.4, 0.5, 0.6))]
    # Between 0.6 and 0.7 all of one side and none of the other: in 2 of the 20 divisions.
    assert attainment_test(sides[0], sides[1], PAIR) == (1.0, 0.0, 0.1, 3)
    assert attainment_test(sides[1], sides[0], PAIR) == (0.0, 1.0, 0.1, 3)
    assert attainment_test(sides[0], sides[0], PAIR) == (0.0, 0.0, 1.0, 3)
    drawn = attainment_test(sides[0], sides[1], PAIR, draws=15)
    assert drawn is not None
    assert drawn[2] >= 1 / 16
    assert attainment_test(sides[0], sides[1].iloc[:1], PAIR) is None


def test_p_values_of_attainment_hold_what_they_say() -> None:
    """Among searches of one kind a p-value of at most 0.1 comes once in ten, or less often."""
    found = []
    for number in range(60):
        rng = np.random.default_rng(number)
        sides = [
            pd.concat([search(12, rng).assign(run=run) for run in range(4)], ignore_index=True) for _ in "ab"
        ]
        tested = attainment_test(sides[0], sides[1], PAIR, draws=100)
        assert tested is not None
        found.append(tested[2])
    assert np.mean(np.array(found) <= 0.1) < 0.2


# Kinds of networks at equal ground.


def kinds(left: Any, right: Any, names: list[str]) -> tuple[pd.DataFrame, "pd.Series[str]"]:
    networks = frame([*left, *right], names)
    return networks, pd.Series(["enresnet"] * len(left) + ["resnet"] * len(right), index=networks.index)


def test_the_difference_by_hand() -> None:
    """Best at least as sparse: 0.9, 0.8, 0.7 to 0.2, 0.4, 0.6; and 0.1 less."""
    names = ["weight_sparsity", "robust_accuracy"]
    left = [(0.2, 0.9), (0.4, 0.8), (0.6, 0.7)] + [(0.1, 0.2)] * 3
    right = [(0.2, 0.8), (0.4, 0.7), (0.6, 0.6)] + [(0.3, 0.1)] * 3
    (found,) = by_kind(*kinds(left, right, names), "weight_sparsity", "robust_accuracy")
    assert found.mean == pytest.approx(0.1)
    assert found.range == pytest.approx((0.2, 0.6))
    assert (found.left, found.right, found.trials) == ("enresnet", "resnet", (6, 6))
    assert found.sentence.startswith("At equal weight sparsity (0.20 to 0.60), EnResNet ")


def test_costs_count_by_their_factors() -> None:
    """From 100 to 10,000: one side has its better network from 1,000 on, half of the way."""
    names = ["parameters", "robust_accuracy"]
    left = [(100, 0.5), (1000, 0.7)] + [(10_000, 0.7)] * 4
    right = [(100, 0.5), (10_000, 0.6)] + [(10_000, 0.4)] * 4
    (found,) = by_kind(*kinds(left, right, names), "parameters", "robust_accuracy")
    assert found.mean == pytest.approx(0.1)
    assert found.range == pytest.approx((100, 10_000))
    assert "(100 to 10,000)" in found.sentence


@settings(deadline=None)
@given(st.lists(st.tuples(CELL, CELL), min_size=3, max_size=9), st.integers(0, 5))
def test_the_difference_is_the_mean_over_a_fine_grid(left: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    right = [(int(x), int(y)) for x, y in rng.integers(0, 5, (len(left), 2))]
    names = ["natural_accuracy", "robust_accuracy"]
    networks, kind = kinds([(x / 4, y / 4) for x, y in left], [(x / 4, y / 4) for x, y in right], names)
    (found,) = by_kind(networks, kind, *names, draws=20)
    low, high = (f(g(x for x, _ in side) for side in (left, right)) for f, g in ((max, min), (min, max)))
    if found.mean is None or found.range is None:
        return
    places = np.arange(low + 0.5, high) if high > low else np.array([low])
    best = [[max(y for x, y in side if x >= place) for place in places] for side in (left, right)]
    assert found.range == pytest.approx((low / 4, high / 4))
    assert found.mean == pytest.approx(np.mean(np.subtract(*best)) / 4)


def test_what_cannot_be_compared_says_why() -> None:
    names = ["channel_sparsity", "robust_accuracy"]
    apart = kinds([(0.1, 0.5)] * 6, [(0.6, 0.5), (0.7, 0.5), (0.8, 0.4)] * 2, names)
    (found,) = by_kind(*apart, "channel_sparsity", "robust_accuracy")
    assert (found.mean, found.verdict) == (None, None)
    assert found.sentence == (
        "At equal channel sparsity no comparison is possible: EnResNet has 0.10 to 0.10 and ResNet has "
        "0.60 to 0.80, which do not overlap."
    )
    (found,) = by_kind(*kinds([(0.1, 0.5)] * 2, [(0.1, 0.5)] * 6 + [(np.nan, 1)], names), *names)
    assert found.trials == (2, 6)
    assert "there are 2 of EnResNet, and 6 networks are needed" in found.sentence


def test_kinds_are_taken_in_pairs_and_networks_without_one_left_out() -> None:
    networks = search(40, np.random.default_rng(0))
    kind = pd.Series((["b", "a", "c", None] * 10), index=networks.index)
    found = by_kind(networks, kind, "weight_sparsity", "robust_accuracy", draws=20)
    assert [(d.left, d.right) for d in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert all(d.trials == (10, 10) for d in found)
    assert by_kind(networks, kind.where(kind == "a"), "weight_sparsity", "robust_accuracy") == []


def test_a_better_kind_is_told_and_the_same_is_not() -> None:
    rng = np.random.default_rng(0)
    better, plain = search(200, rng, 0.05), search(200, rng)
    found = at_equal(better, plain, "weight_sparsity", "robust_accuracy", ("enresnet", "resnet"))
    assert found.verdict == "above"
    assert "EnResNet is 0.0" in found.sentence
    assert "above ResNet in robust accuracy (approximate 95 % confidence interval 0.0" in found.sentence
    back = at_equal(plain, better, "weight_sparsity", "robust_accuracy", ("resnet", "enresnet"))
    assert back.verdict == "below"
    assert back.mean == pytest.approx(-(found.mean or 0))
    same = at_equal(plain, plain.sample(frac=1), "weight_sparsity", "robust_accuracy", ("a", "b"))
    assert (same.mean, same.verdict) == (0.0, "undecided")
    assert "do not differ significantly" in same.sentence


@pytest.mark.parametrize(("sizes", "least", "most"), [((40, 40), 0.85, 0.99), ((120, 20), 0.88, 0.99)])
def test_more_trials_alone_make_no_better_kind(sizes: tuple[int, int], least: float, most: float) -> None:
    verdicts = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        found = at_equal(search(sizes[0], rng), search(sizes[1], rng), *PAIR[::-1], ("a", "b"), 100)
        verdicts.append(found.verdict == "undecided")
    assert least <= np.mean(verdicts) <= most
