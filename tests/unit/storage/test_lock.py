"""One writer at a time, on a disk and in a real S3 server: whoever comes, dies, or sleeps."""

import json
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from rtune.storage import lock
from rtune.storage.lock import InUseError, LockLost
from rtune.storage.places import Place, StorageError, place
from tests.support.services import s3
from tests.support.waiting import wait_for

CONTEXT = multiprocessing.get_context("spawn")


@pytest.fixture(params=["local", "remote"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A folder of either kind."""
    if request.param == "local":
        return place(tmp_path)
    found: Place = request.getfixturevalue("remote")
    return found


def _hold(where: str, held: Any, done: Any) -> None:
    taken = lock.take(place(where))
    held.set()
    done.wait(60)
    taken.release()


@pytest.mark.parametrize("killed", [True, False])
def test_another_is_refused_as_long_as_the_holder_lives(folder: Place, killed: bool) -> None:
    held, done = CONTEXT.Event(), CONTEXT.Event()
    assert not lock.is_held(folder)
    holder = CONTEXT.Process(target=_hold, args=(str(folder), held, done))
    holder.start()
    assert held.wait(60)
    assert lock.is_held(folder)
    begun = time.monotonic()
    with pytest.raises(InUseError, match=f"^process {holder.pid} on {socket.gethostname()}$"):
        lock.take(folder)
    assert time.monotonic() - begun < 10
    assert lock.is_held(folder)  # being refused takes nothing from the holder
    if killed:
        holder.kill()
    else:
        done.set()
    holder.join()
    assert not lock.is_held(folder)
    begun = time.monotonic()
    taken = lock.take(folder)
    assert time.monotonic() - begun < 10
    assert lock.is_held(folder)
    taken.check()
    taken.confirm()
    taken.release()
    assert not lock.is_held(folder)
    assert set(folder.files()) <= {"lock"}


def test_one_process_does_not_get_it_twice(folder: Place) -> None:
    taken = lock.take(folder)
    with pytest.raises(InUseError, match=f"process {os.getpid()} on"):
        lock.take(folder)
    taken.release()
    lock.take(folder).release()


def _race(where: str, rounds: int, start: Any, results: Any, seed: int) -> None:
    chance = random.Random(seed)
    home = place(where)
    for number in range(rounds):
        start.wait(60)
        time.sleep(chance.choice([0, 0, chance.uniform(0, 0.1)]))
        try:
            taken = lock.take(home / f"round{number}")
        except InUseError:
            taken = None
        results.put((number, taken is not None))
        start.wait(60)
        if taken is not None:
            taken.confirm()
            taken.release()


def race(home: Place, rounds: int, runners: int) -> list[int]:
    """How many got it in each round, of processes that start together."""
    for number in range(rounds):
        if home.local is not None:
            (home.local / f"round{number}").mkdir()
    start, results = CONTEXT.Barrier(runners), CONTEXT.Queue()
    processes = [
        CONTEXT.Process(target=_race, args=(str(home), rounds, start, results, seed))
        for seed in range(runners)
    ]
    for process in processes:
        process.start()
    winners = [0] * rounds
    for _ in range(rounds * runners):
        number, won = results.get(timeout=60)
        winners[number] += won
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return winners


def test_of_those_who_come_at_the_same_moment_one_has_it(folder: Place) -> None:
    assert race(folder, 10, 3) == [1] * 10


def test_nor_do_two_have_it_when_the_store_is_slow(store: s3.Server, remote: Place) -> None:
    with store.outage("slow"):  # each request by another time, so that they overtake each other
        assert race(remote, 3, 2) == [1] * 3


def claim(folder: Place, age: float, **facts: Any) -> Place:
    """A claim as another machine has written it AGE seconds ago."""
    fixed = {"host": "elsewhere", "pid": 7, "machine": "another", "time": time.time() - age, "held": True}
    file = folder / "leases" / uuid.uuid4().hex
    file.write(json.dumps(fixed | facts).encode())
    return file


def test_a_claim_of_another_machine_holds_until_it_is_stale(
    remote: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = claim(remote, lock.STALE - 30)
    assert lock.is_held(remote)
    with pytest.raises(InUseError, match=r"^process 7 on elsewhere$"):
        lock.take(remote)
    file.delete()
    monkeypatch.setattr(lock, "WATCHED", 1.5)
    claim(remote, lock.STALE + 1)
    assert not lock.is_held(remote)
    begun = time.monotonic()
    taken = lock.take(remote)
    assert time.monotonic() - begun > 1.5  # seen to be left alone, in case a clock is wrong
    assert len((remote / "leases").files()) == 1
    taken.release()


def test_a_claim_that_is_renewed_holds_whatever_the_clocks_say(remote: Place) -> None:
    claim(remote, 3600)
    file = claim(remote, 3600)
    over = threading.Event()

    def renew() -> None:
        content = json.loads(file.read())
        while not over.wait(0.5):
            content["time"] += 0.5
            file.write(json.dumps(content).encode())

    other = threading.Thread(target=renew)
    other.start()
    try:
        with pytest.raises(InUseError, match="process 7 on elsewhere"):
            lock.take(remote)
    finally:
        over.set()
        other.join()
    assert len((remote / "leases").files()) == 2  # nobody's claim is touched by who is refused


def test_who_asks_gives_way_to_who_asked_with_a_lower_name(remote: Place) -> None:
    file = claim(remote, 0, held=False)
    low = remote / "leases" / "0"
    low.write(file.read())
    file.delete()
    assert not lock.is_held(remote)
    with pytest.raises(InUseError, match="process 7 on elsewhere"):
        lock.take(remote)
    low.delete()
    high = remote / "leases" / "z"
    high.write(json.dumps(json.loads(claim(remote, 0).read()) | {"held": False}).encode())
    for name in (remote / "leases").files():
        if name != "z":
            (remote / "leases" / name).delete()
    taking = threading.Timer(1.0, high.delete)  # the other sees that it has to give way
    taking.start()
    taken = lock.take(remote)
    taking.join()
    taken.release()


def test_a_holder_that_was_asleep_too_long_finds_out(remote: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "STALE", 1.0)
    monkeypatch.setattr(lock, "WATCHED", 1.5)
    monkeypatch.setattr(lock, "RENEWED", 1000.0)  # it does not wake by itself
    first = lock.take(remote)
    time.sleep(1.1)
    monkeypatch.setattr(lock, "RENEWED", 0.5)
    second = lock.take(remote)
    with pytest.raises(LockLost, match=f"process {os.getpid()} on .* has taken it over"):
        first.confirm()
    with pytest.raises(LockLost):
        first.check()
    second.confirm()
    first.release()
    assert lock.is_held(remote)
    second.release()


def test_a_void_claim_that_comes_back_to_life_is_void_again(
    remote: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process was stopped between looking and renewing."""
    monkeypatch.setattr(lock, "STALE", 1.0)
    monkeypatch.setattr(lock, "WATCHED", 1.0)
    monkeypatch.setattr(lock, "RENEWED", 1000.0)
    first, second = lock.take(remote), None
    assert isinstance(first, lock._Lease)
    time.sleep(1.1)
    second = lock.take(remote)
    first._renew(remote / "leases")
    assert isinstance(second, lock._Lease)
    second._check_and_renew()
    second.check()
    first._check_and_renew()
    with pytest.raises(LockLost):
        first.check()
    first.release()
    second.release()


def test_what_is_no_claim_is_in_nobodys_way(remote: Place) -> None:
    for content in (b"", b"{", b"[]", b'{"pid": 1}'):
        (remote / "leases" / uuid.uuid4().hex).write(content)
    assert not lock.is_held(remote)
    lock.take(remote).release()


def test_an_outage_is_no_loss(store: s3.Server, remote: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "RENEWED", 0.5)
    told: list[str] = []
    taken = lock.take(remote.with_retries(told.append))
    assert isinstance(taken, lock._Lease)
    with store.outage():
        time.sleep(2)
        taken.check()
        assert len(told) == 1  # a launch whose log is idle hears of it from here
        taken._renewed -= lock.STALE
        with pytest.raises(OSError, match=r"SLOW_DOWN|503"):
            taken.confirm()
    wait_for(lambda: time.time() - taken._renewed < lock.STALE)
    taken.confirm()
    assert lock.is_held(remote)
    taken.release()


def test_letting_go_in_an_outage_takes_seconds(
    store: s3.Server, remote: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SHORT_RETRY_SECONDS", 1.0)
    taken = lock.take(remote)
    with store.outage():
        begun = time.monotonic()
        taken.release()
        assert time.monotonic() - begun < 30


def test_it_is_taken_after_an_outage_if_one_has_patience(store: s3.Server, remote: Place) -> None:
    store.switch("SlowDown")
    end = threading.Timer(1, store.switch, [""])
    end.start()
    told: list[str] = []
    lock.take(remote.with_retries(told.append)).release()
    end.join()


def test_where_nothing_can_be_written_nothing_is_taken(store: s3.Server, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing"):
        lock.take(place(store.uri("missing/run")))
    with pytest.raises(StorageError, match="cannot be written"):
        lock.take(place(tmp_path / "missing"))
    (tmp_path / "lock").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        lock.take(place(tmp_path))


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can mount")
def test_a_read_only_disk_can_be_looked_at(tmp_path: Path) -> None:
    """As a colleague sees the run who may not write."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "seen").mkdir()

    def shell(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{' '.join(command[:2])}: {done.stderr.strip()}")

    shell("mount", "--bind", str(tmp_path / "disk"), str(tmp_path / "seen"))
    try:
        shell("mount", "-o", "remount,ro,bind", str(tmp_path / "seen"))
        seen = place(tmp_path / "seen")
        assert not lock.is_held(seen)
        assert seen.files() == {}
        with pytest.raises(StorageError, match="cannot be written: Read-only file system"):
            lock.take(seen)
        taken = lock.take(place(tmp_path / "disk"))
        assert lock.is_held(seen)
        taken.release()
        assert not lock.is_held(seen)
    finally:
        subprocess.run(["umount", str(tmp_path / "seen")], check=True)


def test_a_holder_that_wakes_before_its_claim_is_deleted_loses_the_lock(
    remote: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another has taken over, but has not got as far as deleting the void claim."""
    monkeypatch.setattr(lock, "RENEWED", 1000.0)
    first = lock.take(remote)
    first.confirm()
    assert isinstance(first, lock._Lease)
    claim(remote, 0)
    first._renewed -= lock.STALE + 1  # it has been asleep
    with pytest.raises(LockLost, match="process 7 on elsewhere has taken it over"):
        first.confirm()
    first.release()


def test_the_clock_may_be_set_back_while_the_holder_sleeps(
    remote: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "RENEWED", 1000.0)
    first = lock.take(remote)
    assert isinstance(first, lock._Lease)
    for name in (remote / "leases").files():
        (remote / "leases" / name).delete()
    first._renewed += 3600
    first._renewed_boot -= lock.STALE + 1
    with pytest.raises(LockLost, match="its claim has been deleted"):
        first.confirm()
    first.release()


def test_a_moved_folder_and_a_deleted_lock_file_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    taken = lock.take(place(folder))
    folder.rename(tmp_path / "moved")
    with pytest.raises(StorageError, match=f"{folder} has been moved to {tmp_path}/moved"):
        taken.check()
    (tmp_path / "moved").rename(folder)
    taken.check()
    (folder / "lock").unlink()
    with pytest.raises(LockLost, match="its lock file has been deleted"):
        taken.check()
    taken.release()
    lock.take(place(folder)).release()
