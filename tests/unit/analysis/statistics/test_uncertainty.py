"""How sure a front is, against other libraries, brute force, cases by hand and simulated truths."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.seeds import replicate_sets, replicates
from analysis.statistics.attainment import attainment
from analysis.statistics.optimism import optimism
from analysis.statistics.uncertainty import certainty, wilson
from rtune import metrics
from rtune.config.sections import EvaluationConfig

OBJECTIVES = ["natural_accuracy", "robust_accuracy", "weight_sparsity"]
PAIR = ["robust_accuracy", "weight_sparsity"]


def frame(rows: list[tuple[float, ...]], names: list[str] = PAIR, **columns: Any) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=names, dtype=float)
    return made.assign(trial=[f"t{i:04d}" for i in range(len(made))], epoch=3, **columns)


@settings(deadline=None)
@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0.5, 0.999))
def test_wilson_is_scipys(images: int, share: float, level: float) -> None:
    right = round(share * images)
    expected = stats.binomtest(right, images).proportion_ci(level, method="wilson")
    low, high = wilson(right / images, images, level)
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_takes_arrays_and_keeps_what_is_missing() -> None:
    low, high = wilson(np.array([0.5, np.nan]), np.array([100, 100]))
    assert (low[0], high[0]) == pytest.approx((0.403832, 0.596168), abs=1e-6)
    assert np.isnan([low[1], high[1]]).all()
    with pytest.raises(ValueError, match="images"):
        wilson(0.5, 0)


VALUE = st.sampled_from([None, 0.0, -0.0, 1.0, 0.1, 1e-5])
WORD = st.sampled_from([None, "rvsm", "rgsm"])


@settings(deadline=None)
@given(st.lists(st.tuples(VALUE, WORD, st.integers(1, 2)), min_size=1, max_size=30), st.randoms())
def test_replicates_are_the_rows_of_equal_values(rows: list[tuple[Any, ...]], random: Any) -> None:
    made = pd.DataFrame(rows, columns=["a", "b", "epoch"])
    ids = replicates(made, ["a", "b"])
    plain = made.assign(a=made["a"].astype(float) + 0.0)
    expected = plain.groupby(["a", "b", "epoch"], dropna=False, sort=False).ngroup()
    assert pd.crosstab(ids, expected).gt(0).sum().eq(1).all()
    assert ids.nunique() == expected.nunique()
    order = random.sample(range(len(made)), len(made))
    shuffled = replicates(made.iloc[order], ["b", "a"])
    assert shuffled.loc[ids.index].equals(ids)


def test_a_setting_keeps_its_number_in_other_tables() -> None:
    one = pd.DataFrame({"k": pd.array([3, None], "Int64"), "on": [True, None], "epoch": [5, 5]})
    other = pd.DataFrame({"k": [3.0, np.nan], "on": [True, False], "m": [None, "x"], "epoch": [5, 5]})
    mine, its = replicates(one, ["k", "on"]), replicates(other, ["m", "on", "k"])
    assert mine[0] == its[0]
    assert mine[1] != its[1]
    assert replicates(one, ["k", "on", "not there"]).equals(mine)
    assert replicates(one.iloc[:0], ["k"]).empty


def test_figures_of_fewer_images_are_no_replicates() -> None:
    made = pd.DataFrame({"k": [1.0, 1.0, 1.0], "epoch": [5, 5, 5], "images": [90, 360, 360]})
    cut, *whole = replicates(made, ["k"])
    assert whole[0] == whole[1] != cut


def test_a_value_counts_under_its_own_name_and_within_its_own_run() -> None:
    made = pd.DataFrame({"a": [1.0, np.nan, 1.0], "b": [np.nan, 1.0, np.nan], "epoch": 3, "run": [0, 0, 1]})
    assert replicates(made, ["a", "b"]).nunique() == 3
    assert replicates(made.drop(columns="run"), ["a", "b"]).nunique() == 2


def pair(shares: tuple[float, float], images: tuple[int, int] | int) -> pd.DataFrame:
    """Of two networks, the first named more robust and the second sparser."""
    return certainty(frame([(shares[0], 0.4), (shares[1], 0.6)]), PAIR, images)


def test_a_difference_is_clear_from_about_so_many_standard_errors_on() -> None:
    """One-sided at 0.05: 1.645 errors of 0.07; with two accuracies at 0.025: 1.96 errors."""
    assert pair((0.60, 0.50), 100)["within_noise"].tolist() == [True, False]
    assert pair((0.64, 0.50), 100)["within_noise"].tolist() == [False, False]
    both = certainty(frame([(0.64, 0.5, 0.4), (0.50, 0.5, 0.6)], OBJECTIVES), OBJECTIVES, 100)
    assert both["within_noise"].tolist() == [True, False]
    both = certainty(frame([(0.67, 0.5, 0.4), (0.50, 0.5, 0.6)], OBJECTIVES), OBJECTIVES, 100)
    assert both["within_noise"].tolist() == [False, False]


def test_the_rivals_are_those_that_may_be_better_the_likeliest_first() -> None:
    found = certainty(frame([(0.60, 0.1), (0.55, 0.2), (0.59, 0.3), (0.1, 0.4)]), PAIR, 100)
    assert found["trial"].tolist() == ["t0000", "t0002", "t0003"]
    assert found["rivals"].tolist() == [2, 0, 0]
    assert found["rival"].tolist() == ["t0002", None, None]


def test_each_network_is_as_sure_as_its_own_images_make_it() -> None:
    assert pair((0.66, 0.50), (30, 100))["within_noise"].tolist() == [True, False]
    assert pair((0.66, 0.50), (100, 30))["within_noise"].tolist() == [True, False]
    pd.testing.assert_frame_equal(pair((0.66, 0.50), (100, 100)), pair((0.66, 0.50), 100))


def test_a_perfect_accuracy_is_not_certain() -> None:
    assert pair((1.0, 0.99), 100)["within_noise"].tolist() == [True, False]
    assert pair((1.0, 0.9), 1000)["within_noise"].tolist() == [False, False]


@pytest.mark.parametrize(("ours", "theirs"), [(20, 20), (40, 20), (20, 40), (10, 200)])
def test_of_two_equals_the_one_is_clear_as_seldom_as_is_claimed(ours: int, theirs: int) -> None:
    """Exactly, over all outcomes of two binomial distributions."""
    most = np.full(ours + 1, -1)  # count of the other up to which the one is clear, for each count of the one
    for right in range(ours + 1):
        low, high = -1, int(np.ceil(right / ours * theirs)) - 1
        while low < high:
            middle = (low + high + 1) // 2
            noisy = pair((right / ours, middle / theirs), (ours, theirs)).set_index("trial")["within_noise"]
            low, high = (low, middle - 1) if noisy["t0000"] else (middle, high)
        most[right] = low
    for p in (0.02, 0.1, 0.5, 0.9, 0.98):
        wrong = stats.binom.pmf(np.arange(ours + 1), ours, p) @ stats.binom.cdf(most, theirs, p)
        assert wrong <= 0.05


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 20)] * 3), min_size=1, max_size=12), st.randoms())
def test_the_order_of_rows_and_the_sign_of_a_cost_do_not_matter(
    rows: list[tuple[int, ...]], random: Any
) -> None:
    networks = frame([tuple(v / 20 for v in row) for row in rows], OBJECTIVES)
    networks = networks.assign(macs=1000 - 40 * networks["weight_sparsity"])
    found = certainty(networks, OBJECTIVES, 50).set_index("trial")
    shuffled = networks.sample(frac=1, random_state=random.randrange(99))
    costly = certainty(shuffled, [*OBJECTIVES[:2], "macs:min"], 50).set_index("trial")
    for column in ("within_noise", "rivals"):
        assert found[column].equals(costly[column].reindex(found.index))
    errors = networks.assign(natural_accuracy=1 - networks["natural_accuracy"])
    turned = certainty(errors, ["natural_accuracy:min", *OBJECTIVES[1:]], 50).set_index("trial")
    assert found["rivals"].equals(turned["rivals"].reindex(found.index))


def test_what_is_exact_is_certain() -> None:
    networks = frame([(0.2, 9), (0.4, 5), (0.4, 5), (0.1, 9)], ["channel_sparsity", "parameters"])
    found = certainty(networks, ["channel_sparsity", "parameters"], 100)
    assert sorted(found["trial"]) == ["t0001", "t0002"]
    assert not found["within_noise"].any()


@pytest.mark.parametrize("seconds", ["train_seconds", "eval_seconds"])
def test_of_seconds_nothing_is_certain(seconds: str) -> None:
    """Their error is unknown: only what has no equal in the rest is clear."""
    networks = frame([(9.0, 0.5), (5.0, 0.4), (9.5, 0.4)], [seconds, "weight_sparsity"])
    found = certainty(networks, [seconds, "weight_sparsity"], 100).set_index("trial")
    assert found["within_noise"].to_dict() == {"t0000": False, "t0001": True}
    assert found.loc["t0001", "rivals"] == 2
    alone = certainty(networks, [seconds], 100)
    assert alone["within_noise"].tolist() == [True]


def test_every_metric_of_rtune_is_exact_of_images_or_a_time() -> None:
    known = {*metrics.exact(), *metrics.of_images()}
    assert {m.name for m in metrics.METRICS.own()} - known == {"train_seconds", "eval_seconds"}
    assert not set(metrics.exact()) & set(metrics.of_images())


@pytest.mark.parametrize("rows", [[], [(0.5, 0.5)], [(np.nan, 0.5), (0.5, 0.5)]])
def test_few_networks(rows: list[tuple[float, ...]]) -> None:
    found = certainty(frame(rows), PAIR, 100)
    assert found["within_noise"].tolist() == [False] * bool(rows)
    assert found["rival"].tolist() == [None] * bool(rows)


def test_an_infinite_objective_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        certainty(frame([(0.5, np.inf), (0.5, 0.5)]), PAIR, 100)
    with pytest.raises(ValueError, match="images"):
        certainty(frame([(0.5, 0.5)]), PAIR, 0)


GRID = st.tuples(st.integers(0, 4), st.integers(0, 4))


@settings(deadline=None)
@given(st.lists(st.lists(GRID, min_size=2, max_size=2), min_size=2, max_size=5), st.booleans())
def test_surfaces_bound_what_so_many_sets_attain(sets: list[list[tuple[int, int]]], cheap: bool) -> None:
    """Two settings, one network of each in a set; on a grid, against counting."""
    names = ["natural_accuracy", "macs" if cheap else "robust_accuracy"]
    sign = np.array([1, -1 if cheap else 1])
    rows = [tuple(np.array(one[k]) * sign) for one in sets for k in (0, 1)]
    networks = frame(rows, names, x=[0, 1] * len(sets))
    levels = (25, 50, 75, 100)
    surfaces = attainment(networks.sample(frac=1, random_state=0), names, ["x"], levels)
    assert surfaces is not None
    for level in levels:
        line = surfaces[level] * sign
        for place in np.ndindex(5, 5):
            count = sum(any((np.array(p) >= place).all() for p in one) for one in sets)
            assert (line >= place).all(axis=1).any() == (100 * count >= level * len(sets))
        steps = np.diff(surfaces[level], axis=0)
        assert (steps[:, 0] >= 0).all()
        assert (steps == 0).any(axis=1).all()


def test_surfaces_by_hand() -> None:
    rows = [(0.2, 0.9), (0.6, 0.5), (0.3, 0.8), (0.5, 0.6)]
    surfaces = attainment(frame(rows, OBJECTIVES[:2], x=[0, 1, 0, 1]), OBJECTIVES[:2], ["x"])
    assert surfaces is not None
    assert surfaces[75].tolist() == [[0.2, 0.8], [0.2, 0.5], [0.5, 0.5]]
    assert surfaces[25].tolist() == surfaces[50].tolist()
    assert surfaces[50][::2].tolist() == [[0.2, 0.9], [0.3, 0.8], [0.5, 0.6], [0.6, 0.5]]


def test_without_replicates_there_is_no_surface() -> None:
    networks = frame([(0.2, 0.9), (0.6, 0.5)], x=[0, 1])
    assert attainment(networks, PAIR, ["x"]) is None
    assert attainment(networks.iloc[:0], PAIR, ["x"]) is None
    with pytest.raises(ValueError, match="two"):
        attainment(networks, OBJECTIVES, ["x"])


def test_all_sets_are_of_the_same_settings() -> None:
    """Five seeds of one setting, two of three: two sets of four settings hold more than five of one."""
    networks = frame([(i / 20, i / 20) for i in range(12)], x=[0] * 5 + [1, 1, 2, 2, 3, 3] + [4])
    sets = replicate_sets(networks, PAIR, ["x"])
    assert [points[:, 0].round(2).tolist() for points in sets] == [
        [0, 0.25, 0.35, 0.45],
        [0.05, 0.3, 0.4, 0.5],
    ]


ATTACK = EvaluationConfig(epsilon=0.1, step_size=0.02, steps=7, random_start=True)


def evaluation(trial: str, attack: str, accuracy: float, **changed: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"epsilon": None, "step_size": None, "restarts": None}
    if attack != "natural":
        settings = {"epsilon": 0.1, "step_size": 0.02, "restarts": 1}
    row = {"trial": trial, "epoch": 3, "split": "test", "attack": attack, "images": 400, "time": 1}
    return row | settings | {"accuracy": accuracy} | changed


def test_optimism_by_hand() -> None:
    networks = frame([(0.9, 0.60, 0.1), (0.8, 0.50, 0.2), (0.1, 0.1, 0.1)], OBJECTIVES)
    table = pd.DataFrame(
        [
            evaluation("t0000", "natural", 0.88),
            evaluation("t0001", "natural", 0.78),
            evaluation("t0001", "natural", 0.1, split="validation"),
            evaluation("t0002", "natural", 0.5),  # not on the front
            evaluation("t0000", "pgd-7", 0.30, images=100),
            evaluation("t0000", "pgd-7", 0.57),
            evaluation("t0000", "pgd-7", 0.2, epsilon=0.2, time=2),
            evaluation("t0000", "pgd-7", 0.2, restarts=5, time=2),
            evaluation("t0000", "pgd-20", 0.2, time=2),
            evaluation("t0001", "pgd-7", 0.2, epoch=2),  # of a network that is past
        ]
    )
    found = optimism(networks, table, OBJECTIVES, 400, ATTACK)
    assert found is not None
    natural, robust = found.gaps
    assert (natural.members, natural.mean) == (2, pytest.approx(0.02))
    assert (robust.members, robust.mean) == (1, pytest.approx(0.03))
    half = 1.959964 * math.sqrt(0.585 * 0.415 * 2 / 400)
    assert (robust.low, robust.high) == pytest.approx((0.03 - half, 0.03 + half), abs=1e-6)
    assert (
        "the robust accuracy of 1 of the 2 members of the front is 0.030 above that on the test split"
        in found.sentence
    )
    better = table.assign(accuracy=0.95)
    below = optimism(networks, better[better["attack"] == "natural"], OBJECTIVES, 400, ATTACK)
    assert below is not None
    assert "0.100 below that on the test split" in below.sentence
    assert below.sentence.endswith("the test split took no part in the choice.")
    plain = optimism(networks, table, OBJECTIVES, 400)
    assert plain is not None
    assert [gap.metric for gap in plain.gaps] == ["natural_accuracy"]
    assert optimism(networks, table.iloc[:0], OBJECTIVES, 400, ATTACK) is None
