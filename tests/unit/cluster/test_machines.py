"""What a launch makes of a cluster's machines. Ray's answers are made up; real ones: integration/cluster/."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from rtune.cluster import machines
from rtune.cluster.interrupt import Interrupt
from rtune.cluster.machines import Machines
from rtune.config import spaces, spec
from rtune.search.limits import Limits
from rtune.storage.places import LocalPlace, StorageError, place

A_AND_B = ["it lacks a", "it lacks b"]


class Cluster:
    """Machines of one core; a check's answer is what `verdicts` says of the machine, None while silent."""

    exceptions = ray.exceptions

    def __init__(self) -> None:
        self.verdicts: dict[str, str | None] = {"a": "it lacks a", "b": "it lacks b", "c": None}
        self._pinned = ""

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "NodeID": name * 56,
                "Alive": True,
                "Resources": {"CPU": 1.0},
                "NodeManagerAddress": f"10.0.0.{name}",
                "NodeManagerHostname": name,
            }
            for name in self.verdicts
        ]

    def remote(self, **_: Any) -> Callable[[Any], Any]:
        def options(scheduling_strategy: Any) -> Any:
            return SimpleNamespace(remote=lambda *_: scheduling_strategy.node_id[0])

        return lambda _: SimpleNamespace(options=options)

    def wait(self, checks: list[str], **_: Any) -> tuple[list[str], list[str]]:
        done = [c for c in checks if self.verdicts.get(c) is not None]
        return done, [c for c in checks if c not in done]

    def get(self, check: str) -> str | None:
        return self.verdicts[check]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster()
    monkeypatch.setattr(machines, "ray", found)
    monkeypatch.setattr(machines, "placement_group", lambda *_, **__: object())
    return found


def made(folder: Path, said: list[str]) -> Machines:
    search = spec.load(spaces.find("digits")).search
    return Machines(Limits.of(search, 4, 4), place(folder), said.append)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(machines, "clock", SimpleNamespace(running=lambda: now[0]))
    return now


def test_a_verdict_is_kept_though_the_store_fails_at_the_next(
    cluster: Cluster, clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    them = made(tmp_path, said)
    them.on_step_begin(0, [])
    assert [line.partition(" is left out: ")[2] for line in said if "left" in line] == A_AND_B
    said.clear()
    them = made(tmp_path, said)
    cluster.verdicts |= {"a": None, "b": None}
    them.on_step_begin(0, [])
    cluster.verdicts |= {"a": "it lacks a", "b": "it lacks b"}
    asked: list[LocalPlace] = []
    original = LocalPlace.exists

    def exists(self: LocalPlace) -> bool:
        asked.append(self)
        if len(asked) == 2:
            raise StorageError("the store is away")
        return original(self)

    monkeypatch.setattr(LocalPlace, "exists", exists)
    clock[0] += 5
    them.on_step_begin(1, [])
    assert said[-1] == "machine 10.0.0.a (a) is left out: it lacks a"
    clock[0] += 5
    them.on_step_begin(2, [])
    assert said[-1] == "machine 10.0.0.b (b) is left out: it lacks b"
    assert them.slots == 1


def test_a_machine_is_excluded_by_address_or_id_and_once(cluster: Cluster, tmp_path: Path) -> None:
    said: list[str] = []
    them = made(tmp_path, said)
    assert them.exclude("10.0.0.a", "it lacks a")
    assert them.exclude("a" * 56, "it lacks more")
    assert them.exclude("10.0.0.x", "it is gone")
    assert said == ["machine 10.0.0.a (a) is left out: it lacks a"]
    assert them.exclude("b" * 56, "it lacks b")
    assert not them.exclude("10.0.0.c", "it lacks c")
    assert len(said) == 3


def test_a_silent_machine_does_not_keep_a_person_waiting(cluster: Cluster, tmp_path: Path) -> None:
    with Interrupt() as interrupt, made(tmp_path, []) as them:
        interrupt.requested = True
        with pytest.raises(KeyboardInterrupt):
            them.check_all(interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_full_cluster_is_told_once_each_time(cluster: Cluster, clock: list[float], tmp_path: Path) -> None:
    cluster.verdicts = {"c": None}
    said: list[str] = []
    them = made(tmp_path, said)
    waiting: list[Any] = [SimpleNamespace(status="PENDING")]

    def pass_by(seconds: int, trials: list[Any]) -> int:
        said.clear()
        for _ in range(seconds // 4):
            clock[0] += 4
            them.on_step_begin(0, trials)
        return sum(line.startswith("no trial has begun for 30 seconds: other work") for line in said)

    assert pass_by(24, waiting) == 0
    assert pass_by(200, waiting) == 1
    assert pass_by(200, [*waiting, SimpleNamespace(status="RUNNING")]) == 0
    assert pass_by(60, waiting) == 1
    cluster.verdicts = {}
    assert pass_by(200, waiting) == 0
