"""The methods that rtune is compared with, by hand."""

from itertools import islice
from typing import Any

import numpy as np
import pytest

from benchmarks.search import methods
from benchmarks.search.peers import ASHA, MOASHA, _configurations
from benchmarks.search.tables import Setting, Table
from rtune.config.ranges import Choice, Range, Uniform
from tests.support.recorded import made


def nine_epochs() -> Table:
    return made([[[0.1, 0.1]] * 9] * 6)


def test_asha_by_hand() -> None:
    method = ASHA(nine_epochs(), 0, lambda point: float(point[0]))
    names = [task.trial for _ in range(4) if (task := method.next_task())]
    firsts = [
        method.report(name, 1, np.array([s, 0])) for name, s in zip(names, (0.5, 0.4, 0.6, 0.5), strict=True)
    ]
    # The first has no cut to pass. The cuts of the others are the 2/3 quantile of those before: 0.5; 0.467
    # of (0.5, 0.4); 0.533 of (0.5, 0.4, 0.6).
    assert firsts == [True, False, True, False]
    # Between rungs nobody is stopped, however bad.
    assert method.report(names[0], 2, np.array([0.0, 0]))
    assert method.report(names[0], 3, np.array([0.3, 0]))
    assert not method.report(names[2], 3, np.array([0.2, 0]))


@pytest.mark.parametrize("mended", [False, True])
def test_moasha_runs_from_its_package(mended: bool) -> None:
    pytest.importorskip("syne_tune")
    method = MOASHA(nine_epochs(), 0, mended)
    names = [task.trial for _ in range(4) if (task := method.next_task())]
    # (1, 1), (2, 2), (3, 3) and then (0, 0), all minimised.
    points = [np.array([4.0 - x, 4.0 - x]) / 4 for x in (1, 2, 3, 0)]
    *before, newcomer = [method.report(name, 1, p) for name, p in zip(names, points, strict=True)]
    assert before == [True, False, False]
    # The package stops the one that dominates all others: see MOASHA.
    assert newcomer is mended


ONES = np.ones(2)


@pytest.mark.parametrize("columns", [{"a": ("x", "y", "z")}, {"a": (True, False)}, {"a": (1,), "b": ("u",)}])
def test_smac_ends_if_a_table_has_more_settings_than_configurations(
    columns: dict[str, tuple[Any, ...]],
) -> None:
    if "smac" in methods.missing():
        pytest.skip("its package is not installed")
    settings = [
        Setting({name: each[i % len(each)] for name, each in columns.items()}, np.full((2, 2), 0.1 * i), ONES)
        for i in range(1, 9)
    ]
    ranges: dict[str, Range] = {name: Choice(each) for name, each in columns.items()}
    small = Table(("a", "b"), 2, settings, ranges, {})
    shares, _ = methods.one(small, "SMAC ParEGO", 0, 4, 16)
    assert 0 < shares[-1] <= 1


def test_configurations_of_a_small_conditional_space_are_counted() -> None:
    ranges: dict[str, Range] = {"kind": Choice(("x", "y")), "x.size": Choice((1, 2, 3)), "r": Choice((0,))}
    table = Table(("a", "b"), 1, [], ranges, {"x.size": ("kind", ("x",))})
    found = list(_configurations(table, list(ranges), {}))
    assert len(found) == 4
    assert {"kind": "y", "r": 0} in found
    endless = Table(("a", "b"), 1, [], ranges | {"lr": Uniform(0.1, 1)}, table.openers)
    assert len(list(islice(_configurations(endless, list(endless.ranges), {}), 100))) == 100
