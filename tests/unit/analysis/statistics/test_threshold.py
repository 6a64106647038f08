"""The threshold against the pruners themselves, and the band against cases worked by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from analysis.statistics.threshold import FEW, apart, band, spearman, threshold
from rtune.config import spec
from rtune.config.catalog import PRUNERS
from rtune.config.catalog.part import Pruner, Threshold
from rtune.config.section import Section
from rtune.config.sections import trial_config
from rtune.robust.pruning import prox
from rtune.worker import build

OBJECTIVES = ["natural_accuracy", "robust_accuracy", "channel_sparsity"]
METHODS = [("rvsm", p) for p in ("l0", "l1", "transformed_l1")] + [
    ("rgsm", p) for p in ("group_l0", "group_lasso")
]
TREE: dict[str, Any] = {
    "data": {"dataset": "digits"},
    "pruning": {
        "method": {"choice": ["rvsm", "rgsm", "admm", "none"]},
        "rvsm": {
            "beta": {"log_uniform": [0.1, 10]},
            "lambda_1": {"log_uniform": [1e-3, 1]},
            "penalty": {"choice": ["l0", "l1", "transformed_l1"]},
        },
        "rgsm": {"lambda_1": {"log_uniform": [0.04, 0.3]}, "beta": 1.0},
        "admm": {"sparsity": {"uniform": [0.1, 0.9]}},
    },
}
SPEC = spec.from_tree(TREE, {}, "test")


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Networks with these values; metrics are 0.5 where a row has none."""
    usual = {"status": "finished", "sampler": "tpe", "epoch": 3, "weight_sparsity": 0.5}
    usual |= dict.fromkeys(OBJECTIVES, 0.5)
    return pd.DataFrame([{"trial": f"t{i + 1:04d}"} | usual | row for i, row in enumerate(rows)])


def rgsm(lambda_1: float, **metrics: float) -> dict[str, Any]:
    return {"pruning.method": "rgsm", "pruning.rgsm.lambda_1": lambda_1, **metrics}


def rvsm(beta: float, lambda_1: float, penalty: str, **metrics: float) -> dict[str, Any]:
    own = {"beta": beta, "lambda_1": lambda_1, "penalty": penalty}
    return {"pruning.method": "rvsm", **{f"pruning.rvsm.{k}": v for k, v in own.items()}, **metrics}


# --- the threshold ------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "penalty"), METHODS)
@given(
    beta=st.floats(0.01, 10),
    lambda_1=st.floats(1e-4, 10),
    seed=st.integers(0, 2**31),
)
def test_the_pruners_own_step_zeroes_just_what_is_below(
    method: str, penalty: str, beta: float, lambda_1: float, seed: int
) -> None:
    """An update of the real pruner: all that it zeroes is at most the threshold, all that it keeps above."""
    fixed = spec.from_tree(
        {
            "data": {"dataset": "digits"},
            "pruning": {"method": method, method: {"beta": beta, "lambda_1": lambda_1, "penalty": penalty}},
            "points": [{"training.lr": 0.1}],
        },
        {},
        "test",
    )
    (size,) = threshold(table([{"training.lr": 0.1}]), fixed)
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Conv2d(40, 8, 3, bias=False))
    pruner = build.pruner(fixed.trial_config({}).pruning, network)
    with torch.no_grad():
        # Norms of 0.2 to 5 times the threshold, or weights about it.
        scale = size * (torch.linspace(0.2, 5, 40) * (0.9 + 0.2 * torch.rand(40)))[None, :, None, None]
        network[0].weight /= prox.channel_norms(network[0].weight)[0][None, :, None, None]
        network[0].weight *= scale * (1 if method == "rgsm" else 8)
        network[0].weight.grad = torch.zeros_like(network[0].weight)
    pruner.pull(lr=0.0)
    pruner.update()
    w, u = network[0].weight.detach(), pruner.u[0]
    before, after = (
        (prox.channel_norms(w)[0], prox.channel_norms(u)[0]) if method == "rgsm" else (w.abs(), u.abs())
    )
    assert before[after == 0].max() <= size * (1 + 1e-5)
    assert before[after > 0].min() >= size * (1 - 1e-5)


def test_each_network_has_its_own_by_hand() -> None:
    rows: list[dict[str, Any]] = [
        rvsm(0.5, 0.04, "l0"),  # sqrt(2 * 0.08) = 0.4
        rvsm(0.5, 0.04, "l1"),
        rvsm(0.5, 0.04, "transformed_l1"),  # up to a quarter: twice 0.08
        rvsm(0.25, 0.25, "transformed_l1"),  # above: 2 * 1 - 1/2
        rgsm(0.08),  # beta and penalty are the file's: sqrt(0.16)
        {"pruning.method": "admm", "pruning.admm.sparsity": 0.8},
        {"pruning.method": "none"},
    ]
    found = threshold(table(rows), SPEC)
    assert found.tolist() == pytest.approx([0.4, 0.08, 0.16, 1.5, 0.4, np.nan, np.nan], nan_ok=True)


def test_what_a_point_leaves_open_is_the_files() -> None:
    """A path that only points set, as in the paper's space, has no value where they do not name it."""
    search = spec.from_tree(
        {
            "pruning": {"rvsm": {"beta": 0.5, "lambda_1": 0.01}},
            "points": [{"pruning.rvsm.beta": 2.0}, {"pruning.method": "rgsm"}, {"training.lr": 0.2}],
        },
        {},
        "test",
    )
    rows = table([{"pruning.rvsm.beta": 2.0}, {"pruning.method": "rgsm"}, {"training.lr": 0.2}])
    # sqrt(2 * 0.005); the paper's RGSM, sqrt(2 * 0.05); sqrt(2 * 0.02).
    assert threshold(rows, search).tolist() == pytest.approx([0.1, 0.1**0.5, 0.2])


def test_the_types_of_the_columns_do_not_matter() -> None:
    """A loaded run has Arrow's texts and numbers that may be missing."""
    rows = table([rgsm(0.08), rvsm(0.5, 0.04, "l1"), {"pruning.method": "none"}])
    assert threshold(rows.convert_dtypes(), SPEC).tolist() == pytest.approx([0.4, 0.08, np.nan], nan_ok=True)
    assert band(rows.convert_dtypes(), SPEC, OBJECTIVES) == band(rows, SPEC, OBJECTIVES)


def test_a_row_is_where_it_was() -> None:
    rows = table([rgsm(0.08), rgsm(0.18), rgsm(0.32)])
    picked = rows.iloc[[2, 0]]
    assert threshold(picked, SPEC).to_dict() == pytest.approx({2: 0.8, 0: 0.4})
    assert threshold(rows.iloc[:0], SPEC).empty


def test_the_formulas_are_those_of_the_search_file() -> None:
    for method, penalty in METHODS:
        trial_config().model_validate({"pruning": {"method": method, method: {"penalty": penalty}}})


# --- the band -----------------------------------------------------------------------------------


def front_of_two() -> pd.DataFrame:
    """0.08 and 0.125 are on the front (thresholds 0.4 and 0.5), the others are worse than both."""
    good = [rgsm(0.08, natural_accuracy=0.9), rgsm(0.125, channel_sparsity=0.9)]
    bad = [rgsm(v, natural_accuracy=0.1, channel_sparsity=0.1) for v in (0.045, 0.18, 0.245)]
    return table([*good, *bad])


def test_the_band_by_hand() -> None:
    (found,) = band(front_of_two(), SPEC, OBJECTIVES)
    assert (found.method, found.penalty) == ("rgsm", "group_l0")
    assert (found.networks, found.members, found.sparsity) == (5, 2, "channel_sparsity")
    assert found.front == pytest.approx((0.4, 0.5))
    assert found.searched == pytest.approx((0.08**0.5, 0.6**0.5))
    assert found.middle is None
    # The best share has five networks at the least, which are all.
    assert found.best == pytest.approx((0.3, 0.7))
    assert found.sentence == (
        "RGSM: 2 front members have sqrt(2 lambda_1 / beta) between 0.4 and 0.5, a factor of 1.25; the "
        "search covered 0.28 to 0.77, a factor of 2.74. Channel sparsity and threshold have the rank "
        "correlation -0.22. This is only a hint, from 5 networks."
    )


def test_replicates_count_for_nothing() -> None:
    rows = front_of_two()
    again = rows.iloc[[0]].assign(trial="t0001r1", sampler="replicate", natural_accuracy=0.95)
    assert band(pd.concat([rows, again]), SPEC, OBJECTIVES) == band(rows, SPEC, OBJECTIVES)


def test_a_method_without_front_members_says_so() -> None:
    worse = rvsm(1.0, 0.02, "l1", natural_accuracy=0.01)
    rows = pd.concat([front_of_two(), table([worse]).assign(trial="t0009")], ignore_index=True)
    found, other = band(rows, SPEC, OBJECTIVES)
    assert (found.penalty, found.members, found.front) == ("l1", 0, None)
    assert found.best == pytest.approx((0.02, 0.02))
    assert found.searched == pytest.approx((1e-4, 10))
    assert "RVSM: its one network is not on the front, and has lambda_1 / beta at 0.02;" in found.sentence
    assert other.members == 2


def test_many_members_have_a_middle_half() -> None:
    sizes = np.linspace(0.3, 0.7, 2 * FEW + 1)
    rows = table([rgsm(s**2 / 2, natural_accuracy=1 - s, channel_sparsity=s) for s in sizes])
    (found,) = band(rows, SPEC, OBJECTIVES)
    assert found.middle == pytest.approx((0.4, 0.6))
    assert found.correlation == pytest.approx(1)
    assert "half of them between 0.4 and 0.6" in found.sentence
    assert "hint" not in found.sentence


def test_a_point_outside_its_range_widens_what_was_searched() -> None:
    (found,) = band(table([rgsm(0.02), rgsm(0.5)]), SPEC, OBJECTIVES)
    assert found.searched == pytest.approx((0.2, 1.0))


def test_what_was_not_searched_has_no_band() -> None:
    fixed = spec.from_tree(
        {"pruning": {"method": "rgsm"}, "training": {"lr": {"log_uniform": [0.01, 1]}}}, {}, "test"
    )
    (found,) = band(table([{"training.lr": 0.1}, {"training.lr": 0.2}]), fixed, OBJECTIVES)
    assert found.sentence == "RGSM: sqrt(2 lambda_1 / beta) was 0.32 throughout."


def test_networks_without_metrics_or_none_at_all() -> None:
    rows = table([rgsm(0.08)]).assign(natural_accuracy=np.nan)
    (found,) = band(rows, SPEC, OBJECTIVES)
    assert (found.front, found.best, found.correlation) == (None, None, None)
    assert "no network yet" in found.sentence
    assert band(rows.iloc[:0], SPEC, OBJECTIVES) == []


COLUMNS = npst.arrays(float, st.integers(3, 30).map(lambda n: (n, 2)), elements=st.integers(0, 5).map(float))


@given(COLUMNS)
def test_the_rank_correlation_is_spearmans(pairs: np.ndarray) -> None:
    found = spearman(pd.Series(pairs[:, 0]), pd.Series(pairs[:, 1]))
    if (pairs == pairs[0]).all(axis=0).any():
        assert found is None
    else:
        assert found == pytest.approx(scipy.stats.spearmanr(*pairs.T).statistic, abs=1e-12)


def test_a_pair_that_lacks_one_is_left_out() -> None:
    one, other = pd.Series([1.0, 2.0, np.nan, 4.0]), pd.Series([1.0, 2.0, -9.0, 3.0])
    assert spearman(one, other) == pytest.approx(1)
    assert spearman(one[:1], other[:1]) is None


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((0.1, 0.1), "a factor of 1"),
        ((0.21, 0.4524), "a factor of 2.15"),
        ((0.001, 1.5), "a factor of 1,500"),
        ((0.0, 1.0), "down to zero"),
    ],
)
def test_how_far_apart_in_words(ends: tuple[float, float], words: str) -> None:
    assert apart(ends) == words


def test_a_pruner_of_others_has_the_threshold_of_its_entry() -> None:
    class Settings(Section):
        """A pruner's."""

        lambda_1: float = 0.1
        beta: float = 2.0
        penalty: str = "cubic"

    cubic = {"cubic": Threshold(lambda t: t**3, "(lambda_1 / beta)^3")}
    PRUNERS.add(Pruner(name="mine", label="Mine", about="", build="x:y", settings=Settings, thresholds=cubic))
    try:
        tree = {"data": {"dataset": "digits"}, "pruning": {"method": {"choice": ["mine", "none"]}}}
        tree["pruning"]["mine"] = {"lambda_1": {"uniform": [0.2, 0.8]}}
        mine = spec.from_tree(tree, {}, "test")
        row = {"pruning.method": "mine", "pruning.mine.lambda_1": 0.6, "weight_sparsity": 0.5}
        networks = table([row | dict.fromkeys(OBJECTIVES, 0.5)])
        assert threshold(networks, mine).tolist() == pytest.approx([0.3**3])
        (found,) = band(networks, mine, OBJECTIVES)
        assert "(lambda_1 / beta)^3 at 0.027" in found.sentence
    finally:
        PRUNERS.remove("mine")
