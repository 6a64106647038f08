"""Networks near the front of a set, against the count of those above them and the ranks of moocore."""

import math
from typing import Any

import moocore
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.statistics.dominance import near_front

CELL = st.integers(0, 4)


@settings(deadline=None)
@given(st.lists(st.tuples(CELL, CELL), min_size=2, max_size=40), st.integers(1, 20), st.randoms())
def test_what_is_far_below_the_front_is_not_on_that_of_a_part(rows: Any, percent: int, random: Any) -> None:
    points = np.array(rows, float)
    kept = near_front(points, percent / 20)
    above = [(np.all(points >= p, axis=1) & np.any(points > p, axis=1)).sum() for p in points]
    for found, count in zip(kept, above, strict=True):
        assert found or (1 - percent / 20) ** count < 1e-5


@settings(deadline=None)
@given(
    st.integers(1, 3).flatmap(lambda k: st.lists(st.tuples(*[CELL] * k), min_size=1, max_size=40)),
    st.integers(1, 20),
    st.integers(1, 2),
)
def test_what_may_be_on_the_front_of_a_part_are_the_first_fronts(
    rows: Any, percent: int, together: int
) -> None:
    points = np.array(rows, float)
    depth = 1 if percent == 20 else math.ceil(math.log(1e-5) / math.log(1 - percent / 20))
    ranks = moocore.pareto_rank(points, maximise=True)
    assert near_front(points, percent / 20, together).tolist() == (ranks < depth * together).tolist()
