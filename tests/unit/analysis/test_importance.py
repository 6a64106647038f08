"""Importance against Optuna's, worked by hand, and what it must not hang on."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from analysis.statistics.importance import ALL, FEWEST, FEWEST_BEST, importance, membership
from rtune.config import spec

OBJECTIVES = ["natural_accuracy", "robust_accuracy", "channel_sparsity"]
TREE: dict[str, Any] = {
    "data": {"dataset": "digits"},
    "training": {
        "lr": {"log_uniform": [1e-3, 1]},
        "momentum": {"uniform": [0.5, 0.95]},
        "batch_size": {"int_uniform": [16, 64]},
        "weight_decay": {"choice": [0.0, 1e-4, 1e-3]},
    },
}
FLAT = spec.from_tree(TREE, {}, "test")
CONDITIONAL = spec.from_tree(
    {
        "data": {"dataset": "digits"},
        "pruning": {
            "method": {"choice": ["rvsm", "rgsm"]},
            "rvsm": {"beta": {"log_uniform": [0.01, 1]}},
            "rgsm": {"lambda_1": {"log_uniform": [0.01, 1]}},
        },
    },
    {},
    "test",
)


def table(n: int, seed: int = 0, noise: float = 0.05) -> pd.DataFrame:
    """Networks of random settings of `FLAT`: the rate decides the accuracies, little else matters."""
    rng = np.random.default_rng(seed)
    lr = 10 ** rng.uniform(-3, 0, n)
    found = pd.DataFrame(
        {
            "trial": [f"t{i + 1:04d}" for i in range(n)],
            "status": "finished",
            "sampler": "random",
            "training.lr": lr,
            "training.momentum": rng.uniform(0.5, 0.95, n),
            "training.batch_size": rng.integers(16, 65, n),
            "training.weight_decay": rng.choice([0.0, 1e-4, 1e-3], n),
        }
    )
    quality = -((np.log10(lr) + 1.2) ** 2) / 5
    found["natural_accuracy"] = 0.9 + quality + noise * rng.normal(size=n)
    found["robust_accuracy"] = 0.5 + quality + noise * rng.normal(size=n)
    found["channel_sparsity"] = found["training.momentum"] - 0.5 + noise * rng.normal(size=n)
    return found


def of(found: pd.DataFrame, parameter: str, objective: str = "natural_accuracy") -> pd.Series:
    return found.set_index(["objective", "parameter"]).loc[(objective, parameter)]


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    keys = ["objective", "parameter"]
    pd.testing.assert_frame_equal(
        one.sort_values(keys).reset_index(drop=True),
        other.sort_values(keys).reset_index(drop=True),
        rtol=1e-9,
        atol=1e-12,
    )


# --- who is best --------------------------------------------------------------------------------


def test_membership_by_hand() -> None:
    # Ten points, so five places: 9 and 8 have theirs; three 7s share the other three, then four 5s nothing.
    column = np.array([9, 8, 7, 7, 7, 5, 5, 5, 5, 1.0])[:, None]
    assert membership(column, 0.1).tolist() == [1] * 5 + [0] * 5
    # Six places: the 5s share the last one.
    assert membership(column, 0.6).tolist() == [1] * 5 + [0.25] * 4 + [0]
    # Pareto ranks: (1, 3), (2, 2), (3, 1) come before (1, 1), twice, and those before (0, 0).
    points = np.array([[1, 3], [2, 2], [3, 1], [1, 1], [1, 1], [0, 0.0]])
    assert membership(points, 0.1).tolist() == [1, 1, 1, 1, 1, 0]
    assert membership(points, 4 / 6).tolist() == [1, 1, 1, 1, 1, 0]
    assert membership(np.zeros((0, 2)), 0.1).tolist() == []


POINTS = st.integers(1, 3).flatmap(
    lambda k: npst.arrays(
        float, st.integers(1, 25).map(lambda n: (n, k)), elements=st.integers(0, 3).map(float)
    )
)


@given(POINTS, st.floats(0.01, 0.99))
def test_the_places_go_to_the_best(points: np.ndarray, best: float) -> None:
    found = membership(points, best)
    assert found.sum() == pytest.approx(min(max(best * len(points), FEWEST_BEST), len(points)))
    assert ((found >= 0) & (found <= 1)).all()
    for p, of_p in zip(points, found, strict=True):
        for q, of_q in zip(points, found, strict=True):
            if (p >= q).all():
                assert of_p >= of_q
                # Nobody worse has a place as long as a better one lacks part of its own.
                assert (p == q).all() or of_q == 0 or of_p == 1


# --- how much is explained ----------------------------------------------------------------------


def test_what_a_choice_explains_by_hand() -> None:
    """Of 20 networks the five best all have 0.0, as five others have: of the two kinds,
    1/2 and 0 are best. The variance between the kinds is 1/16, that of being best 1/4 * 3/4.
    """
    rows = table(20).assign(natural_accuracy=np.arange(20.0))
    rows["training.weight_decay"] = np.repeat([1e-3, 0.0], 10)
    found = of(importance(rows, FLAT, ["natural_accuracy"]), "training.weight_decay")
    assert found["explained"] == pytest.approx(1 / 3)
    assert (found["networks"], found["best"]) == (20, 5)
    worst = of(importance(rows, FLAT, ["natural_accuracy:min"]), "training.weight_decay")
    assert worst["explained"] == pytest.approx(1 / 3)


@given(st.integers(0, 2**31), st.integers(FEWEST, 60), st.floats(0.05, 0.5))
@limits(max_examples=25, deadline=None)
def test_a_choice_explains_the_variance_between_its_groups(seed: int, n: int, best: float) -> None:
    """The divergence is but another way to the variance of the groups' means (numpy's own)."""
    rows = table(n, seed)
    found = of(importance(rows, FLAT, ["natural_accuracy"], best=best, draws=2), "training.weight_decay")
    member = membership(rows[["natural_accuracy"]].to_numpy(), best)
    group = pd.Series(member).groupby(rows["training.weight_decay"]).transform("mean")
    expected = group.var(ddof=0) / member.var() if rows["training.weight_decay"].nunique() > 1 else np.nan
    assert found["explained"] == pytest.approx(expected, nan_ok=True, abs=1e-9)


@given(st.integers(0, 2**31), st.integers(FEWEST, 60))
@limits(max_examples=25, deadline=None)
def test_the_figures_fit_each_other(seed: int, n: int) -> None:
    found = importance(table(n, seed), FLAT, OBJECTIVES, draws=20)
    known = found.dropna()
    assert set(found["objective"]) == {*OBJECTIVES, ALL}
    assert (known["low"] <= known["explained"]).all()
    assert (known["explained"] <= known["high"]).all()
    assert known[["explained", "low", "high", "null", "share"]].min().min() >= 0
    assert known[["explained", "low", "high", "null", "share"]].max().max() <= 1 + 1e-9
    assert known.groupby("objective")["share"].sum().to_numpy() == pytest.approx(1)
    for _, part in found.groupby("objective", sort=False):
        assert part["explained"].is_monotonic_decreasing


def study(rows: pd.DataFrame, objectives: list[str]) -> optuna.Study:
    """The same networks as Optuna sees them."""
    domains: dict[str, optuna.distributions.BaseDistribution] = {
        "training.lr": optuna.distributions.FloatDistribution(1e-3, 1, log=True),
        "training.momentum": optuna.distributions.FloatDistribution(0.5, 0.95),
        "training.batch_size": optuna.distributions.IntDistribution(16, 64),
        "training.weight_decay": optuna.distributions.CategoricalDistribution([0.0, 1e-4, 1e-3]),
    }
    made = optuna.create_study(directions=["maximize"] * len(objectives))
    made.add_trials(
        [
            optuna.trial.create_trial(
                params=row[list(domains)].to_dict(), distributions=domains, values=list(row[objectives])
            )
            for _, row in rows.iterrows()
        ]
    )
    return made


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("objectives", [["natural_accuracy"], ["channel_sparsity"], OBJECTIVES])
def test_optuna_finds_the_same(seed: int, objectives: list[str]) -> None:
    """Optuna's PED-ANOVA: shares near ours, and the same order of what is more than noise.

    Its densities differ from ours as the docstring says, and so do its best of equal Pareto rank.
    """
    rows = table(400, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = optuna.importance.get_param_importances(
            study(rows, objectives), evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
    whole = importance(rows, FLAT, objectives)
    ours = whole[whole["objective"] == (ALL if len(objectives) > 1 else objectives[0])].set_index("parameter")
    for name, share in theirs.items():
        assert ours.loc[name, "share"] == pytest.approx(share, abs=0.08)
    clear = ours[ours["explained"] > ours["null"]].index.tolist()
    assert clear == [name for name in theirs if name in clear]
    assert clear[0] == next(iter(theirs))


# --- noise --------------------------------------------------------------------------------------


def test_what_alone_decides_comes_first() -> None:
    for seed in range(10):
        found = importance(table(60, seed, noise=0.0), FLAT, ["natural_accuracy"])
        assert found["parameter"].iloc[0] == "training.lr"
        assert found["explained"].iloc[0] > found["null"].iloc[0]
        assert found["share"].iloc[0] > 0.6


def above(make: Callable[[int], pd.DataFrame], parameters: list[str], runs: int) -> float:
    """How often parameters are called more than noise."""
    calls = []
    for seed in range(runs):
        found = importance(make(seed), FLAT, ["natural_accuracy"], draws=100).set_index("parameter")
        calls.append(found.loc[parameters, "explained"] > found.loc[parameters, "null"])
    return float(np.mean(calls))


OTHERS = ["training.momentum", "training.batch_size", "training.weight_decay"]


@pytest.mark.parametrize("n", [30, 100])
def test_what_does_not_matter_stays_below_its_null_level(n: int) -> None:
    """In 95 % of cases; 180 cases scatter by 2 % about that."""
    assert above(lambda seed: table(n, seed), OTHERS, runs=60) < 0.1


def test_a_sampler_that_drifts_makes_nothing_important() -> None:
    """Settings without influence wander while the search gets better, as under TPE."""

    def drifting(seed: int) -> pd.DataFrame:
        rows = table(200, seed)
        late = np.arange(200) / 200
        rows["natural_accuracy"] += late
        wander = np.random.default_rng(seed + 1000).uniform(0, 0.5, 200)
        rows["training.momentum"] = 0.5 + 0.45 * (wander + 0.5 * late)
        return rows

    assert above(drifting, ["training.momentum"], runs=30) < 0.2


def test_the_interval_holds_the_mean_of_many_searches() -> None:
    """It is one of 95 %, from one search alone, and not much wider than the searches scatter."""
    tables = [table(100, seed, noise=0.1) for seed in range(60)]
    found = [importance(t, FLAT, ["natural_accuracy"], draws=100).set_index("parameter") for t in tables]
    columns = ["low", "explained", "high"]
    low, explained, high = np.array([f.loc["training.lr", columns] for f in found], float).T
    assert np.mean((low <= explained.mean()) & (explained.mean() <= high)) >= 0.88
    assert np.mean(high - low) < 1.6 * (2 * 1.96 * explained.std())


# --- what it must not hang on -------------------------------------------------------------------


@given(st.integers(0, 2**31), st.randoms(use_true_random=False))
@limits(max_examples=10, deadline=None)
def test_the_order_of_rows_does_not_matter(seed: int, random: Any) -> None:
    rows = table(50, seed).round({"natural_accuracy": 1, "channel_sparsity": 1})
    order = list(range(50))
    random.shuffle(order)
    same(
        importance(rows, FLAT, OBJECTIVES, draws=20), importance(rows.iloc[order], FLAT, OBJECTIVES, draws=20)
    )


@given(st.integers(0, 2**31), st.floats(0.01, 100), st.floats(-5, 5))
@limits(max_examples=10, deadline=None)
def test_the_scale_of_an_objective_does_not_matter(seed: int, factor: float, shift: float) -> None:
    rows = table(50, seed)
    other = rows.assign(natural_accuracy=rows["natural_accuracy"].round(6) * factor + shift)
    rows["natural_accuracy"] = rows["natural_accuracy"].round(6)
    same(importance(rows, FLAT, OBJECTIVES, draws=20), importance(other, FLAT, OBJECTIVES, draws=20))
    flipped = [o + ":min" for o in OBJECTIVES]
    negative = rows.assign(**{o: -rows[o] for o in OBJECTIVES})
    same(importance(rows, FLAT, OBJECTIVES, draws=20), importance(negative, FLAT, flipped, draws=20))


@given(st.integers(0, 2**31), st.permutations([0.0, 1e-4, 1e-3]))
@limits(max_examples=10, deadline=None)
def test_the_names_of_a_choice_do_not_matter(seed: int, names: list[float]) -> None:
    rows = table(50, seed)
    renamed = dict(zip([0.0, 1e-4, 1e-3], names, strict=True))
    other = rows.assign(**{"training.weight_decay": rows["training.weight_decay"].map(renamed)})
    same(importance(rows, FLAT, OBJECTIVES, draws=20), importance(other, FLAT, OBJECTIVES, draws=20))


def test_the_logarithm_is_taken_where_the_range_has_it() -> None:
    """The same places in the range, on a log scale and on a plain one."""
    plain = spec.from_tree({**TREE, "training": {**TREE["training"], "lr": {"uniform": [1, 4]}}}, {}, "test")
    rows = table(80)
    moved = rows.assign(**{"training.lr": np.log10(rows["training.lr"]) + 4})
    same(importance(rows, FLAT, OBJECTIVES), importance(moved, plain, OBJECTIVES))


# --- which networks count -----------------------------------------------------------------------


def conditional(n: int, seed: int = 0) -> pd.DataFrame:
    """RVSM is always worse; under it only beta decides."""
    rng = np.random.default_rng(seed)
    rows = table(n, seed)[["trial", "status", "sampler"]]
    method = rng.choice(["rvsm", "rgsm"], n)
    rows["pruning.method"] = method
    rows["pruning.rvsm.beta"] = np.where(method == "rvsm", 10 ** rng.uniform(-2, 0, n), np.nan)
    rows["pruning.rgsm.lambda_1"] = np.where(method == "rgsm", 10 ** rng.uniform(-2, 0, n), np.nan)
    beta = rows["pruning.rvsm.beta"].fillna(1)
    rows["natural_accuracy"] = np.where(method == "rvsm", 0.3 + 0.2 * beta, 0.8) + 0.01 * rng.random(n)
    return rows


def test_a_setting_is_judged_where_it_applies() -> None:
    rows = conditional(80)
    found = importance(rows, CONDITIONAL, ["natural_accuracy"])
    beta = of(found, "pruning.rvsm.beta")
    assert beta["networks"] == (rows["pruning.method"] == "rvsm").sum()
    assert beta["explained"] > beta["null"]
    assert of(found, "pruning.method")["networks"] == 80
    # As if the others had never been.
    alone = importance(rows[rows["pruning.method"] == "rvsm"], CONDITIONAL, ["natural_accuracy"])
    assert of(alone, "pruning.rvsm.beta")["explained"] == beta["explained"]


def test_a_setting_of_few_networks_gets_no_figure() -> None:
    found = importance(conditional(20), CONDITIONAL, ["natural_accuracy"])
    beta = of(found, "pruning.rvsm.beta")
    assert 0 < beta["networks"] < FEWEST
    assert beta[["explained", "low", "high", "null", "share"]].isna().all()
    assert of(found, "pruning.method")["share"] == pytest.approx(1)


def test_a_setting_of_one_value_gets_no_figure() -> None:
    rows = table(40).assign(**{"training.weight_decay": 0.0, "training.momentum": 0.9})
    found = importance(rows, FLAT, ["natural_accuracy"])
    for name in ("training.weight_decay", "training.momentum"):
        assert np.isnan(of(found, name)["explained"])


def test_where_all_networks_are_equal_nothing_matters() -> None:
    found = importance(table(40).assign(natural_accuracy=0.5), FLAT, ["natural_accuracy"])
    assert (found[["explained", "high", "null", "share"]] == 0).all(axis=None)


def test_replicates_and_networks_in_training_do_not_count() -> None:
    rows = table(60)
    more = table(60, seed=1)
    more["sampler"] = ["replicate", "tpe"] * 30
    more["status"] = ["finished", "running", "finished", "interrupted"] * 15
    stopped = rows.assign(status=["stopped", "finished"] * 30)
    same(importance(pd.concat([stopped, more]), FLAT, OBJECTIVES), importance(rows, FLAT, OBJECTIVES))


def test_networks_without_an_objective_do_not_count() -> None:
    rows = table(60)
    rows.loc[::3, "robust_accuracy"] = np.nan
    found = importance(rows, FLAT, OBJECTIVES)
    assert found.groupby("objective")["networks"].first().to_dict() == {
        "natural_accuracy": 60,
        "robust_accuracy": 40,
        "channel_sparsity": 60,
        ALL: 40,
    }


def test_nothing_to_judge() -> None:
    found = importance(table(60).iloc[:0], FLAT, OBJECTIVES)
    assert len(found) == 16
    assert (found["networks"] == 0).all()
    assert found["explained"].isna().all()


def test_a_path_that_only_points_set_is_a_choice() -> None:
    """Where a point does not name it, the file's value holds."""
    points = spec.from_tree(
        {"data": {"dataset": "digits"}, "points": [{"training.lr": 0.3}, {"training.momentum": 0.5}]},
        {},
        "test",
    )
    rows = table(40)[["trial", "status", "sampler"]]
    rows["training.lr"] = [0.3, np.nan] * 20
    rows["training.momentum"] = [np.nan, 0.5] * 20
    rows["natural_accuracy"] = [0.9, 0.1] * 20
    found = importance(rows, points, ["natural_accuracy"])
    assert (found["networks"] == 40).all()
    # All of the five places are shared by the twenty with the rate 0.3.
    assert found["explained"].to_numpy() == pytest.approx(1)


def test_a_point_outside_the_range_is_at_its_end() -> None:
    rest = table(40)["training.lr"][1:]
    tables = [table(40).assign(**{"training.lr": [first, *rest]}) for first in (1e-3, 1e-7)]
    same(*(importance(rows, FLAT, OBJECTIVES) for rows in tables))


def test_the_types_of_the_columns_do_not_matter() -> None:
    """A loaded run has Arrow's texts and whole numbers that may be missing."""
    rows = conditional(80)
    one, other = (importance(t, CONDITIONAL, ["natural_accuracy"]) for t in (rows, rows.convert_dtypes()))
    same(one, other)
