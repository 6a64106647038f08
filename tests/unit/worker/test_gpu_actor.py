"""A host of a shared GPU ends when it has no workers, and not because time stood still."""

from typing import Any

import pytest

from rtune import clock
from rtune.worker import gpu_actor


class Ended(Exception):
    """In place of the end of the process."""


def test_a_stop_does_not_end_a_host_that_has_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [0.0], [0]
    ran = clock.RunningTime(10)
    ran._last = 0.0
    monkeypatch.setattr(clock, "running", ran.now)
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds if asked[0] % 5 else 3600  # the machine is suspended again and again

    def has_workers() -> bool:
        now[0] += 3600  # also between looking for workers and at the clock
        asked[0] += 1
        return asked[0] <= 50

    def leave(code: int) -> Any:
        raise Ended

    monkeypatch.setattr(gpu_actor.time, "sleep", sleep)
    monkeypatch.setattr(gpu_actor.os, "_exit", leave)
    host = object.__new__(gpu_actor._Actor)
    monkeypatch.setattr(host, "remove_dead_workers", has_workers, raising=False)
    with pytest.raises(Ended):
        host._exit_when_idle()
    assert asked[0] > 50
