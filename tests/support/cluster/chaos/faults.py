"""The kinds of fault, and the order in which they come."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import psutil

from tests.support import full_disk
from tests.support.cluster.chaos.check import Record
from tests.support.cluster.chaos.scenes import Cluster, Disk, Scene, Store, is_raylet
from tests.support.cluster.hosts import trains

# Of the searches that are disturbed, in seconds; a worker needs a third of it to start on a busy machine.
REPORT_TIMEOUT = 30.0
# A stop is longer than that in one case of so many.
_LONG = 4
# Seconds that a launch has to end by itself, and a killed process to go.
ENDS = 180.0


class Stuck(Exception):
    """A launch neither goes on nor ends."""


@dataclass(frozen=True)
class Fault:
    """A fault and its moment.

    Attributes:
        kind: one of `KINDS`.
        early: seconds after the start of its launch, if it is the first of the launch; None in training.
        after: epochs that are saved between the last fault, or the start of the launch, and this one.
        delay: seconds after that.
        seed: of all else that the fault draws.
    """

    kind: str
    early: float | None
    after: int
    delay: float
    seed: int

    def __str__(self) -> str:
        moment = f"{self.after} epochs and {self.delay:.2f} s after the last"
        if self.early is not None:
            moment += f", or {self.early:.1f} s after the start of a launch"
        return f"{self.kind} {moment}"


@dataclass
class Hit:
    """A fault that happens.

    Attributes:
        scene: where.
        launch: the process that is hit.
        draw: source of all that is random in it.
        early: whether the launch is still starting.
        torn: records that the fault has torn.
    """

    scene: Scene
    launch: "subprocess.Popen[str]"
    draw: random.Random
    early: bool
    torn: list[Record] = field(default_factory=list)


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        about: what it is.
        scenes: names of those that it happens in.
        hit: makes it happen, and ends it; False if there is no such process now.
        codes: how a launch may end by it; none if a launch must go on.
        retries: attempts of trials that it may cost, of two that run.
        early: whether it may happen while a launch starts.
    """

    about: str
    scenes: tuple[str, ...]
    hit: Callable[[Hit], bool]
    codes: tuple[int, ...] = ()
    retries: int = 0
    early: bool = True


def sequence(seed: str, kinds: Sequence[str]) -> Iterator[Fault]:
    """Faults without end: each kind once in any order, then each again."""
    draw = random.Random(seed)
    while True:
        for kind in draw.sample(kinds, len(kinds)):
            early = draw.uniform(0, 10) if draw.random() < 0.25 else None
            yield Fault(
                kind,
                early if KINDS[kind].early else None,
                draw.randint(1, 4),
                draw.uniform(0, 0.5),
                draw.getrandbits(32),
            )


def _driver(hit: Hit) -> bool:
    return _signal(hit.scene.family(hit.launch)[:1], signal.SIGKILL)


def _worker(hit: Hit) -> bool:
    return _signal(_one(hit, hit.scene.workers(hit.launch)), signal.SIGKILL)


def _raylet(hit: Hit) -> bool:
    return _signal(_one(hit, [p for p in hit.scene.family(hit.launch) if is_raylet(p)]), signal.SIGKILL)


def _stop_driver(hit: Hit) -> bool:
    return _stop(hit, hit.scene.family(hit.launch)[:1])


def _stop_worker(hit: Hit) -> bool:
    return _stop(hit, _one(hit, hit.scene.workers(hit.launch)))


def _stop_all(hit: Hit) -> bool:
    return _stop(hit, hit.scene.family(hit.launch))


def _stop(hit: Hit, processes: list[psutil.Process]) -> bool:
    long = hit.draw.randrange(_LONG) == 0
    seconds = REPORT_TIMEOUT + hit.draw.uniform(1, 5) if long else hit.draw.uniform(0.5, 6)
    if not _signal(processes, signal.SIGSTOP):
        return False
    time.sleep(seconds)
    _signal(processes, signal.SIGCONT)
    return True


def _full_disk(hit: Hit) -> bool:
    disk = cast(Disk, hit.scene).disk
    assert disk is not None
    full_disk.fill(disk)
    try:
        hit.launch.wait(ENDS)
    except subprocess.TimeoutExpired:
        raise Stuck(f"a launch has not ended in {ENDS:g} seconds with a full disk") from None
    finally:
        (disk / "filler").unlink()
    return True


def _torn_line(hit: Hit) -> bool:
    _end(hit)
    results = hit.scene.run.local
    assert results is not None
    hit.torn += tear(results / "results", hit.draw)
    return True


def _moved(hit: Hit) -> bool:
    _end(hit)
    hit.scene.move()
    return True


def _error_500(hit: Hit) -> bool:
    return _outage(hit, "InternalError")


def _error_503(hit: Hit) -> bool:
    return _outage(hit, "SlowDown")


def _reset(hit: Hit) -> bool:
    return _outage(hit, hit.draw.choice(("reset", "drop")))


def _half_body(hit: Hit) -> bool:
    return _outage(hit, "half")


def _slow(hit: Hit) -> bool:
    return _outage(hit, "slow")


def _outage(hit: Hit, how: str) -> bool:
    """A store fails for some requests or some seconds.

    While a launch starts, it is shorter than a command that only reads waits for a store.
    """
    server = cast(Store, hit.scene).server
    methods = hit.draw.choice(("", "", "PUT", "GET HEAD", "POST DELETE"))
    times, seconds = hit.draw.randint(1, 40), hit.draw.uniform(1, 4 if hit.early else 15)
    failed = server.counts()["failed"]
    # Later than a client waits for an answer, at times.
    server.switch(how, methods, times, 2 if hit.early else 12)
    try:
        end = time.monotonic() + seconds
        while server.counts()["failed"] < failed + times and time.monotonic() < end:
            time.sleep(0.1)
    finally:
        server.switch("")
    return server.counts()["failed"] > failed


def _machine(hit: Hit) -> bool:
    """A machine with a trial is lost: its raylet, or all of its processes; later it joins again."""
    scene = cast(Cluster, hit.scene)
    machines = [host for host in scene.machines[1:] if host is not scene.front]
    host = hit.draw.choice([host for host in machines if trains(host)] or machines)
    whole = hit.draw.random() < 0.5
    lost = [p for p in host.processes() if is_raylet(p) or (whole and p.name() not in ("bash", "sleep"))]
    if not _signal(lost, signal.SIGKILL):
        return False
    time.sleep(hit.draw.uniform(1, 15))
    scene.restart(host)
    return True


def tear(results: Path, draw: random.Random) -> list[Record]:
    """Damages the last record of a log, as a power failure does; the record."""
    written = [path for path in sorted(results.glob("*.jsonl")) if path.stat().st_size]
    if not written:
        return []
    data = written[-1].read_bytes()
    before, last = data[: (start := data[:-1].rfind(b"\n") + 1)], data[start:]
    kept = last[: draw.randrange(len(last) - 1)]
    missing = len(last) - len(kept)
    rest = draw.choice((b"", bytes(missing), draw.randbytes(missing)))
    with open(written[-1], "wb") as file:
        file.write(before + kept + rest)
        os.fsync(file.fileno())
    with contextlib.suppress(ValueError):
        return [json.loads(last)]
    return []


def _one(hit: Hit, processes: list[psutil.Process]) -> list[psutil.Process]:
    return [hit.draw.choice(processes)] if processes else []


def _end(hit: Hit) -> None:
    """Kills a launch with all that belongs to it; on a cluster its workers end with it."""
    family, workers = hit.scene.family(hit.launch), hit.scene.workers(hit.launch)
    _signal(family, signal.SIGKILL)
    hit.launch.wait(ENDS)
    others = {p for p in (*family, *workers) if p.pid != hit.launch.pid}
    if psutil.wait_procs(others, ENDS)[1]:
        raise Stuck(f"processes of a killed launch are still there after {ENDS:g} seconds")


def _signal(processes: list[psutil.Process], number: signal.Signals) -> bool:
    """Whether one of them was there."""
    found = False
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
            found = True
    return found


_EVERYWHERE = ("disk", "store", "cluster")
_HERE = ("disk", "store")
_KILLED = (-signal.SIGKILL,)

KINDS = {
    "driver": Kind("SIGKILL of the driver", _EVERYWHERE, _driver, codes=_KILLED),
    "worker": Kind("SIGKILL of a worker", _EVERYWHERE, _worker, retries=1, early=False),
    "raylet": Kind("SIGKILL of the driver's raylet", ("disk",), _raylet, codes=(1,), retries=2),
    "stop-driver": Kind("SIGSTOP of the driver for a while", ("disk",), _stop_driver),
    "stop-worker": Kind("SIGSTOP of a worker for a while", ("disk",), _stop_worker, retries=1, early=False),
    "stop-all": Kind("SIGSTOP of all processes for a while", _HERE, _stop_all),
    "full-disk": Kind("a full disk", ("disk",), _full_disk, codes=(1, 2)),
    "torn-line": Kind("SIGKILL of all, a damaged log", ("disk", "cluster"), _torn_line, _KILLED, early=False),
    "moved": Kind("SIGKILL of all, then another place", _EVERYWHERE, _moved, _KILLED, early=False),
    "error-500": Kind("the store answers 500", ("store",), _error_500),
    "error-503": Kind("the store answers 503 SlowDown", ("store",), _error_503),
    "reset": Kind("the store resets or cuts connections", ("store",), _reset),
    "half-body": Kind("the store sends half an answer", ("store",), _half_body),
    "slow": Kind("the store answers after seconds", ("store",), _slow),
    "machine": Kind("a machine of the cluster is lost", ("cluster",), _machine, retries=2),
}
