"""Hung workers are looked for now and then, not at each step; a stop of the driver is no hang."""

from types import SimpleNamespace
from typing import Any

import pytest

from rtune import clock
from rtune.cluster import watchdog
from rtune.cluster.watchdog import Watchdog


class Driver:
    """The steps of Ray Tune's loop on a made-up clock, with one worker."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, timeout: float) -> None:
        self.now = 0.0
        self.killed: list[Any] = []
        self.looked: list[float] = []
        driver = self

        class Trials(list[Any]):
            def __iter__(self) -> Any:
                driver.looked.append(driver.now)
                return super().__iter__()

        monkeypatch.setattr(clock.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(watchdog.ray, "kill", self.killed.append)
        worker = SimpleNamespace(ray_actor="its worker")
        self.trial = SimpleNamespace(trial_id="a", status="RUNNING", temporary_state=worker)
        self.trials = Trials([self.trial])
        self.watched = Watchdog(timeout)
        self.watched.on_trial_start(0, self.trials, self.trial)

    def run(self, seconds: float, step: float = 0.125) -> None:
        """Steps for so long, or until the worker is killed."""
        end = self.now + seconds
        while self.now < end and not self.killed:
            self.now += step
            self.watched.on_step_begin(0, self.trials)

    def report(self) -> None:
        self.watched.on_trial_result(0, self.trials, self.trial, {})


def test_a_silent_worker_is_killed_and_looked_for_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, timeout=60)
    assert driver.watched.kill_reason(driver.trial) is None
    driver.run(1000)
    assert driver.killed == ["its worker"]
    assert 60 < driver.now < 61.5
    assert len(driver.looked) <= driver.now + 1
    assert "no epoch within 60 seconds" in str(driver.watched.kill_reason(driver.trial))


@pytest.mark.parametrize("timeout", [5, 60, 3600])
@pytest.mark.parametrize("stops", [1, 5])
def test_while_the_driver_stands_still_no_worker_is_late(
    monkeypatch: pytest.MonkeyPatch, timeout: float, stops: int
) -> None:
    driver = Driver(monkeypatch, timeout)
    for _ in range(stops):
        driver.run(timeout / 20)
        driver.now += 100 * timeout  # Ctrl-Z, and fg much later
    driver.run(timeout / 20)
    driver.report()
    driver.run(0.9 * timeout)
    assert driver.killed == []


def test_a_worker_that_hangs_is_found_after_a_stop_too(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, timeout=60)
    driver.run(30)
    driver.now += 10**6
    begun = driver.now
    driver.run(1000)
    assert driver.killed == ["its worker"]
    assert driver.now - begun < 32


def test_a_driver_whose_steps_are_slow_finds_it_later(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, timeout=60)
    driver.run(10_000, step=20)
    assert driver.killed == ["its worker"]
