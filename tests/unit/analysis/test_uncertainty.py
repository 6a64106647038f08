"""How sure a front is, against other libraries, brute force, cases by hand and simulated truths."""

import math
from typing import Any

import moocore
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.front import front
from analysis.objectives import parse_all, values
from analysis.seeds import replicate_sets, replicates
from analysis.statistics.attainment import attainment
from analysis.statistics.dominance import could_matter
from analysis.statistics.optimism import optimism
from analysis.statistics.uncertainty import LEVEL, membership, wilson
from rtune.config.sections import EvaluationConfig

OBJECTIVES = ["natural_accuracy", "robust_accuracy", "weight_sparsity"]
PAIR = ["robust_accuracy", "weight_sparsity"]


def frame(rows: list[tuple[float, ...]], names: list[str] = PAIR, **columns: Any) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=names, dtype=float)
    return made.assign(trial=[f"t{i:04d}" for i in range(len(made))], epoch=3, **columns)


def world(n: int, images: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Networks as measured on so many images, and the truth about them (n, 3)."""
    rng = np.random.default_rng(seed)
    sparsity, loss = rng.random(n), rng.beta(2, 3, n)
    natural = 0.85 - 0.25 * sparsity**2 - 0.4 * loss + rng.normal(0, 0.02, n)
    robust = np.minimum(0.52 - 0.2 * sparsity**3 - 0.3 * loss + rng.normal(0, 0.02, n), natural).clip(0.01)
    counts = np.stack(
        [rng.multinomial(images, [r, a - r, 1 - a]) for a, r in zip(natural, robust, strict=True)]
    )
    measured = np.stack([counts[:, :2].sum(axis=1) / images, counts[:, 0] / images, sparsity], axis=1)
    return frame(measured.tolist(), OBJECTIVES), np.stack([natural, robust, sparsity], axis=1)


def brute_force(networks: pd.DataFrame, images: int, draws: int) -> np.ndarray:
    """Chances (n,) of all networks, every one of which takes part in every draw."""
    rng = np.random.default_rng(1)
    right = images * networks[["natural_accuracy", "robust_accuracy"]].to_numpy()
    low, high = right.min(axis=1), right.max(axis=1)
    alpha = np.stack([low, high - low, images - high], axis=1) + 0.5
    found = np.zeros(len(networks))
    for _ in range(draws):
        parts = rng.standard_gamma(alpha)
        shares = parts / parts.sum(axis=1, keepdims=True)
        drawn = np.stack([shares[:, :2].sum(axis=1), shares[:, 0], networks["weight_sparsity"]], axis=1)
        found += moocore.is_nondominated(drawn, maximise=True, keep_weakly=True)
    return found / draws


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


def test_the_chance_of_one_pair_is_that_of_two_beta_distributions() -> None:
    """The second is sparser, and dominates the first if it is as robust; the first cannot dominate it."""
    found = membership(frame([(0.52, 0.4), (0.50, 0.6)]), PAIR, 100, [], draws=4000)
    first, second = stats.beta(52.5, 48.5), stats.beta(50.5, 50.5)
    expected = first.expect(second.cdf)
    assert found["probability"].tolist() == pytest.approx([expected, 1.0], abs=0.03)
    assert found["rival"].tolist() == ["t0001", None]
    assert found["rival_probability"].tolist() == pytest.approx([1 - expected, 0], abs=0.03)
    assert found["within_noise"].tolist() == [True, False]


def test_each_network_is_as_sure_as_its_own_images_make_it() -> None:
    """As above, but the first is known of 30 images alone."""
    found = membership(frame([(0.6, 0.4), (0.50, 0.6)]), PAIR, [30, 100], [], draws=4000)
    expected = stats.beta(18.5, 12.5).expect(stats.beta(50.5, 50.5).cdf)
    assert found["probability"].tolist() == pytest.approx([expected, 1.0], abs=0.03)
    alike = membership(frame([(0.6, 0.4), (0.50, 0.6)]), PAIR, [100, 100], [])
    assert alike.equals(membership(frame([(0.6, 0.4), (0.50, 0.6)]), PAIR, 100, []))


def test_a_perfect_accuracy_is_not_certain() -> None:
    found = membership(frame([(1.0, 0.4), (0.99, 0.6)]), PAIR, 100, [])
    assert 0.5 < found["probability"][0] < 0.95
    surer = membership(frame([(1.0, 0.4), (0.9, 0.6)]), PAIR, 1000, [])
    assert surer["probability"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("n", "images"), [(150, 5000), (150, 100), (1500, 60)])
def test_leaving_out_what_cannot_matter_changes_no_chance(n: int, images: int) -> None:
    networks, _ = world(n, images, seed=3)
    found = membership(networks, OBJECTIVES, images, [], draws=800).set_index("trial")["probability"]
    expected = pd.Series(brute_force(networks, images, 400), index=networks["trial"])[found.index]
    error = np.sqrt(0.25 * (1 / 800 + 1 / 400))
    assert abs(found - expected).max() < 4.5 * error
    assert abs((found - expected).mean()) < 1.5 * error


def test_chances_come_true() -> None:
    """Of members with a chance of p, a share of p are on the front in truth."""
    chances, truths = [], []
    for seed in range(40):
        networks, truth = world(120, 300, seed)
        found = membership(networks, OBJECTIVES, 300, [], draws=100)
        real = moocore.is_nondominated(truth, maximise=True)
        chances += found["probability"].tolist()
        truths += real[[int(trial[1:]) for trial in found["trial"]]].tolist()
    told, real = np.array(chances), np.array(truths, float)
    assert told.mean() == pytest.approx(real.mean(), abs=0.05)
    assert real[told >= LEVEL].mean() > 0.93
    assert real[told < 0.5].mean() < 0.6


def test_rows_in_another_order_have_the_same_chances() -> None:
    networks, _ = world(80, 200, seed=0)
    whole = networks.assign(x=np.arange(80) // 2)
    one = membership(whole, OBJECTIVES, 200, ["x"], draws=50)
    other = membership(whole.sample(frac=1, random_state=1), OBJECTIVES, 200, ["x"], draws=50)
    pd.testing.assert_frame_equal(*(f.sort_values("trial", ignore_index=True) for f in (one, other)))


def test_fewer_of_a_cost_are_as_more_of_a_sparsity() -> None:
    networks, _ = world(60, 200, seed=1)
    lean = networks.assign(macs=1e6 * (1 - networks["weight_sparsity"]))
    one = membership(lean, OBJECTIVES, 200, [], draws=200)
    other = membership(lean, [*OBJECTIVES[:2], "macs:min"], 200, [], draws=200)
    assert one["probability"].tolist() == other["probability"].tolist()


def test_what_is_exact_is_certain() -> None:
    networks = frame([(0.2, 9), (0.4, 5), (0.4, 5), (0.1, 9)], ["channel_sparsity", "parameters"])
    found = membership(networks, ["channel_sparsity", "parameters"], 100, [])
    assert sorted(found["trial"]) == ["t0001", "t0002"]
    assert found["probability"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("rows", [[], [(0.5, 0.5)], [(np.nan, 0.5), (0.5, 0.5)]])
def test_few_networks(rows: list[tuple[float, ...]]) -> None:
    found = membership(frame(rows), PAIR, 100, [])
    assert found["probability"].tolist() == [1.0] * bool(rows)
    assert found["rival"].tolist() == [None] * bool(rows)
    assert found["setting_probability"].isna().all()


def test_one_lucky_seed_makes_no_good_setting() -> None:
    lucky = [(0.60, 0.5), (0.50, 0.5), (0.50, 0.5), (0.50, 0.5)]
    steady = [(0.58, 0.5), (0.58, 0.5), (0.58, 0.5), (0.58, 0.5)]
    networks = frame(lucky + steady, x=[0] * 4 + [1] * 4)
    found = membership(networks, PAIR, 5000, ["x"]).set_index("trial")
    assert found.loc["t0000", "probability"] > 0.9
    assert found.loc["t0000", "setting_probability"] < 0.2
    assert found.loc["t0000", "seeds"] == 4


def test_the_chance_of_a_setting_is_that_of_two_normal_means() -> None:
    """Equal sparsity, so that only the better mean is on the front; spread 0.01 within either, of 3 seeds."""
    spread = np.array([-0.01, 0.0, 0.01])
    rows = [(v, 0.5) for v in (*(0.700 + spread), *(0.692 + spread))]
    networks = frame([*rows, (0.60, 0.6)], x=[0] * 3 + [1] * 3 + [2])
    found = membership(networks, PAIR, 100_000, ["x"], draws=4000).set_index("trial")
    expected = stats.norm.cdf(0.008 / (0.01 * math.sqrt(2 / 3)))
    assert found.loc["t0002", "setting_probability"] == pytest.approx(expected, abs=0.03)
    assert np.isnan(found.loc["t0006", "setting_probability"])
    assert found.loc["t0006", "seeds"] == 1


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 4)] * 4), min_size=1, max_size=12))
def test_only_what_another_surely_dominates_cannot_matter(rows: list[tuple[int, ...]]) -> None:
    low = np.array(rows, float)[:, :2]
    high = low + np.array(rows, float)[:, 2:]
    expected = [not any((b >= h).all() and (b > h).any() for b in low) for h in high]
    assert could_matter(low, high).tolist() == expected


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
    # Choosing the best makes validation look better: it explains nothing of the opposite.
    assert "0.100 below that on the test split" in below.sentence
    assert (
        "although choosing the best networks on the validation split would by itself put it 0.00"
        in below.sentence
    )
    plain = optimism(networks, table, OBJECTIVES, 400)
    assert plain is not None
    assert [gap.metric for gap in plain.gaps] == ["natural_accuracy"]
    assert optimism(networks, table.iloc[:0], OBJECTIVES, 400, ATTACK) is None


def test_the_best_of_many_equals_is_expected_to_be_flattered() -> None:
    """All have the same true accuracy: whatever the front shows above it is selection."""
    expected, truth = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        networks = frame([(k / 200, 0.5) for k in rng.binomial(200, 0.6, 100)], natural_accuracy=1.0)
        best = front(networks, PAIR)
        table = pd.DataFrame([evaluation(t, "pgd-7", 0.6) for t in best["trial"]])
        found = optimism(networks, table, PAIR, 200, ATTACK)
        assert found is not None
        expected.append(found.gaps[0].expected)
        truth.append(found.gaps[0].mean)
    assert 0.4 < np.mean(expected) / np.mean(truth) < 1.2


def test_corners_and_members_are_of_the_same_networks() -> None:
    """A member is never left out, whatever its place among the rows."""
    networks, _ = world(200, 30, seed=5)
    found = membership(networks.set_index(np.arange(200)[::-1] * 7), OBJECTIVES, 30, [], draws=20)
    assert found["trial"].tolist() == front(networks, OBJECTIVES)["trial"].tolist()
    points = values(networks, parse_all(OBJECTIVES))
    assert could_matter(points, points).tolist() == networks["trial"].isin(found["trial"]).tolist()
