"""Time in which a process runs: a stop of any length counts as a short gap."""

import pytest

from rtune import clock
from rtune.clock import RunningTime


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found = [100.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: found[0])
    return found


def test_all_time_counts_while_it_is_asked_for_often(now: list[float]) -> None:
    ran = RunningTime(longest=10)
    for _ in range(1000):
        now[0] += 4
        ran.now()
    assert ran.now() == pytest.approx(4000)


@pytest.mark.parametrize("stop", [11, 3600, 10**7])
def test_a_stop_counts_as_the_longest_gap(now: list[float], stop: float) -> None:
    ran = RunningTime(longest=10)
    now[0] += 3
    assert ran.now() == pytest.approx(3)
    now[0] += stop
    assert ran.now() == pytest.approx(13)
    now[0] += 2
    assert ran.now() == pytest.approx(15)


def test_it_never_goes_back(now: list[float]) -> None:
    ran = RunningTime(longest=10)
    now[0] -= 50
    assert ran.now() == 0
    now[0] += 1
    assert ran.now() == pytest.approx(1)
