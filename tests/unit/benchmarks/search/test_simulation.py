"""Searches in simulated time: the order of reports, the budget, and the busy workers."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search.peers import RandomOrder
from benchmarks.search.simulation import Task, simulate
from benchmarks.search.tables import Table
from tests.support.recorded import made


class InOrder:
    """Trains settings in order, to their end; notes what it is told."""

    def __init__(self, settings: int) -> None:
        self.log: list[tuple[int, int]] = []
        self._left = list(range(settings))

    def next_task(self) -> Task | None:
        return Task(f"{self._left[0]}", self._left.pop(0)) if self._left else None

    def report(self, trial: str, epoch: int, point: np.ndarray) -> bool:
        self.log.append((int(trial), epoch))
        return True

    def diverged(self, trial: str) -> None:
        self.log.append((int(trial), 0))


CURVES = [[[0.1, 0.1], [0.5, 0.5]], [[0.9, 0.9], [1.0, 0.2]], [[0.9, 0.9]]]


def test_two_workers_use_the_recorded_epoch_times() -> None:
    method = InOrder(2)
    # Setting 0 reports at 1 and 2 seconds, setting 1 at 1.5 and 2.5.
    reached = simulate(made(CURVES[:2], [[1, 1], [1.5, 1]]), method, workers=2, budget=6)
    assert method.log == [(0, 1), (1, 1), (0, 2), (1, 2)]
    # 0.5 * 0.5, then 0.5 * 0.2 more; the half-trained (0.9, 0.9) never counts; nothing is left after that.
    assert reached == pytest.approx([0, 0, 0.25, 0.35, 0.35, 0.35])


def test_one_worker_trains_one_after_the_other() -> None:
    method = InOrder(2)
    simulate(made(CURVES[:2], [[1, 1], [1.5, 1]]), method, workers=1, budget=6)
    assert method.log == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_diverging_epoch_counts_and_frees_its_worker() -> None:
    method = InOrder(3)
    reached = simulate(made(CURVES[::-1]), method, workers=1, budget=6)
    assert method.log == [(0, 1), (0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
    assert reached == pytest.approx([0, 0, 0, 0.2, 0.2, 0.35])


def test_simulation_stops_at_the_budget() -> None:
    method = InOrder(2)
    reached = simulate(made(CURVES[:2]), method, workers=2, budget=3)
    assert reached == pytest.approx([0, 0, 0.25])
    assert len(method.log) == 3


def test_events_at_equal_times_keep_the_order_of_their_start() -> None:
    method = InOrder(2)
    simulate(made(CURVES[:2]), method, workers=2, budget=4)
    assert method.log == [(0, 1), (1, 1), (0, 2), (1, 2)]


class Counting(RandomOrder):
    """Stops trials as it is told to; counts those that run."""

    def __init__(self, table: Table, stops: Sequence[bool]) -> None:
        super().__init__(table, 0)
        self.running, self.most, self.epochs, self._stops = 0, 0, 0, list(stops)

    def next_task(self) -> Task | None:
        task = super().next_task()
        self.running += task is not None
        self.most = max(self.most, self.running)
        return task

    def report(self, trial: str, epoch: int, point: np.ndarray) -> bool:
        self.epochs += 1
        goes_on = not (self._stops and self._stops.pop())
        self.running -= not goes_on or epoch == self.table.max_epochs
        return goes_on

    def diverged(self, trial: str) -> None:
        self.epochs += 1
        self.running -= 1


@given(
    lengths=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    workers=st.integers(1, 4),
    budget=st.integers(1, 30),
    stops=st.lists(st.booleans(), max_size=10),
)
def test_simulation_uses_all_workers_and_counts_all_epochs(
    lengths: list[int], workers: int, budget: int, stops: list[bool]
) -> None:
    rng = np.random.default_rng(budget)
    # One is complete, so that the table's length is known.
    lengths = [3, *lengths]
    table = made(
        [rng.random((n, 2)).tolist() for n in lengths], [rng.random(max(1, n)).tolist() for n in lengths]
    )
    method = Counting(table, stops)
    reached = simulate(table, method, workers, budget)
    assert method.most <= workers
    assert len(reached) == budget
    assert (np.diff(reached) >= 0).all()
    assert reached[-1] <= table.full_hypervolume + 1e-12
    everything = sum(min(n + 1, 3) for n in lengths)
    if stops and any(stops):
        assert method.epochs <= min(budget, everything)
    else:
        assert method.epochs == min(budget, everything)
        if budget >= everything:
            assert method.running == 0
            assert reached[-1] == pytest.approx(table.full_hypervolume)
