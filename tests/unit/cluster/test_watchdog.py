"""Hung workers are looked for now and then, not at each of Ray Tune's steps."""

from types import SimpleNamespace
from typing import Any

import pytest

from rtune.cluster import watchdog
from rtune.cluster.watchdog import Watchdog


def test_a_silent_worker_is_killed_and_looked_for_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    killed: list[Any] = []
    looked = []

    class Trials(list[Any]):
        def __iter__(self) -> Any:
            looked.append(now[0])
            return super().__iter__()

    trial = SimpleNamespace(
        trial_id="a", status="RUNNING", temporary_state=SimpleNamespace(ray_actor="its worker")
    )
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(watchdog.ray, "kill", killed.append)
    watched, trials = Watchdog(timeout=60), Trials([trial])
    watched.on_trial_start(0, trials, trial)
    while not killed:
        assert watched.kill_reason(trial) is None
        now[0] += 0.125
        watched.on_step_begin(0, trials)
    assert killed == ["its worker"]
    assert 60 < now[0] < 61.5
    assert len(looked) <= now[0] + 1
    assert "no epoch within 60 seconds" in str(watched.kill_reason(trial))
