"""Figures of simulated searches, by hand and against numpy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search.summary import Searches, quantile, summaries, text


def test_epochs_to_a_share_by_hand() -> None:
    shares = np.array([[0.5, 0.9, 0.95], [0.9, 0.9, 0.99], [0.1, 0.2, 0.3]])
    found = Searches("m", shares, 1.0).summary()
    assert (found["epochs_to_90"], found["epochs_to_95"], found["epochs_to_99"]) == (2, 3, None)
    assert found["epochs_to_90_quartiles"] == [1.5, None]
    assert found["final_hypervolume"] == 0.95
    assert found["final_hypervolume_quartiles"] == [0.625, 0.97]


def test_seeds_that_end_below_rtune_by_hand() -> None:
    def ending(method: str, *shares: float) -> Searches:
        return Searches(method, np.array([[share] for share in shares]), 1.0)

    results = [ending("peer", 0.5, 0.6, 0.7, 0.9), ending("rtune", 0.6, 0.6, 0.8, 0.8)]
    assert [found.get("below_rtune") for found in summaries(results)] == [0.5, None]
    assert [line.split()[-1] for line in text(results).splitlines()[-2:]] == ["50%", "never"]
    assert "below_rtune" not in summaries(results[:1])[0]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=9), st.floats(0, 1))
def test_quantile_agrees_with_numpy(values: list[float], q: float) -> None:
    assert quantile(values, q) == pytest.approx(np.quantile(values, q), abs=1e-6)


def test_quantile_is_inf_if_a_neighbouring_value_is_inf() -> None:
    assert quantile([1, math.inf], 0.5) == math.inf
    assert quantile([1, 3, math.inf], 0.5) == 3
    assert quantile([math.inf, math.inf, math.inf, 1], 0.5) == math.inf
