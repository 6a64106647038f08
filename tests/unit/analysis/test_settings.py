"""Settings network by network, and which networks can be compared."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import settings
from analysis.settings import judged, numbers, once, setting, thinned
from rtune.config import spec

POINTS: dict[str, Any] = {
    "pruning": {"rvsm": {"beta": 0.5, "lambda_1": 0.01}},
    "training": {"weight_decay": {"uniform": [0.0, 0.1]}},
    "points": [
        {"pruning.rvsm.beta": 2.0},
        {"pruning.method": "rgsm"},
        {"model.network": "wideresnet"},
    ],
}
SPEC = spec.from_tree(POINTS, {}, "test")


def rows() -> pd.DataFrame:
    """The three points as a run has them: nothing where a point says nothing."""
    return pd.DataFrame(
        {
            "trial": ["t0001", "t0002", "t0003"],
            "status": "finished",
            "sampler": "point",
            "pruning.rvsm.beta": [2.0, np.nan, np.nan],
            "pruning.method": [None, "rgsm", None],
            "model.network": [None, None, "wideresnet"],
            "training.weight_decay": [0.01, 0.02, 0.03],
        }
    )


@pytest.mark.parametrize("convert", [lambda t: t, pd.DataFrame.convert_dtypes])
def test_what_a_point_leaves_open_is_the_files(convert: Any) -> None:
    found = {p: setting(convert(rows()), SPEC, p) for p in [*SPEC.searched(), "training.lr", "model.depth"]}
    assert found["pruning.method"].tolist() == ["rvsm", "rgsm", "rvsm"]
    assert found["training.weight_decay"].tolist() == [0.01, 0.02, 0.03]
    # Not searched at all.
    assert found["training.lr"].tolist() == [0.1, 0.1, 0.1]
    # What does not count under the method or the network is missing.
    assert found["pruning.rvsm.beta"].dropna().to_dict() == {0: 2.0, 2: 0.5}
    assert found["model.depth"].dropna().to_dict() == {0: 20, 1: 20}
    assert numbers(convert(rows()), SPEC, "pruning.rvsm.beta").tolist() == pytest.approx(
        [2.0, np.nan, 0.5], nan_ok=True
    )


def test_a_searched_value_that_is_missing_stays_missing() -> None:
    found = setting(rows().drop(columns="training.weight_decay"), SPEC, "training.weight_decay")
    assert found.isna().all()


def test_it_says_what_the_spec_says() -> None:
    """`Spec.is_active`, network by network."""
    for path in ("pruning.rvsm.beta", "pruning.rgsm.beta", "model.depth", "model.wideresnet.widen"):
        for i, point in enumerate(POINTS["points"]):
            assert setting(rows(), SPEC, path).notna()[i] == SPEC.is_active(path, point)


def test_networks_are_judged_in_the_order_of_suggestion() -> None:
    names = ["t10000", "t9999", "t0002", "t0003", "t0004", "t0005"]
    statuses = ["finished", "stopped", "finished", "running", "interrupted", "finished"]
    table = pd.DataFrame({"trial": names, "status": statuses, "sampler": "tpe"})
    table.loc[5, "sampler"] = "replicate"
    assert judged(table)["trial"].tolist() == ["t0002", "t9999", "t10000"]
    assert once(table)["trial"].tolist() == names[:5]
    assert judged(table.iloc[:0]).empty


def test_many_networks_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"x": range(301)})
    assert thinned(table) is table
    monkeypatch.setattr(settings, "MOST", 101)
    assert thinned(table)["x"].tolist() == list(range(0, 301, 3))
