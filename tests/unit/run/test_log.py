"""The log in a real S3 server on this machine: in order, a prefix whatever happens, nothing lost unsaid."""

import contextlib
import itertools
import multiprocessing
import random
import time
from typing import Any

import pytest

from rtune.run import log, schema
from rtune.run.log import Writer
from rtune.storage import lock, places
from rtune.storage.places import Place, StorageError, place
from tests.support.services import s3
from tests.support.waiting import wait_for

CONTEXT = multiprocessing.get_context("spawn")


def record(number: int) -> dict[str, Any]:
    """The log's record number NUMBER: a trial, then its epochs."""
    if number == 0:
        fixed = {"trial": "t0001", "seed": 1, "sampler": "tpe", "values": {}, "facts": {}, "time": 1.0}
        return {"kind": "trial", **fixed}
    metrics = dict.fromkeys(schema.epoch(), 0.5) | {"macs": 7, "parameters": 9, "images": 100}
    fixed = {"trial": "t0001", "epoch": number, "decision": "continue", "time": 1.5}
    return {"kind": "epoch", **fixed, **metrics}


def records(begin: int, end: int) -> list[dict[str, Any]]:
    return [record(number) for number in range(begin, end)]


def open_log(remote: Place) -> Writer:
    return Writer(lock.take(remote), remote / "results")


def read(remote: Place) -> list[dict[str, Any]]:
    """All records; none may have been left out."""
    found = log.read(remote / "results", {})
    assert found.notes == []
    return found.records


def test_records_come_back_in_order_over_launches(remote: Place) -> None:
    for begin, end in ((0, 3), (3, 4), (4, 4), (4, 50)):
        with open_log(remote) as writer:
            for each in records(begin, end):
                writer.append(each)
        assert read(remote) == records(0, end)
    assert list((remote / "results").files()) == ["0001.jsonl", "0002.jsonl", "0003.jsonl"]
    assert (remote / "leases").files() == {}


def test_records_are_in_the_store_soon_without_an_end(remote: Place) -> None:
    with open_log(remote) as writer:
        for number in range(3):
            writer.append(record(number))
            wait_for(lambda number=number: read(remote) == records(0, number + 1))  # type: ignore[misc]


def test_a_full_segment_is_left_alone(remote: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_SEGMENT", 2000)
    for begin, end in ((0, 40), (40, 60)):
        with open_log(remote) as writer:
            for each in records(begin, end):
                writer.append(each)
                time.sleep(0.03)  # what comes together is written together
    sizes = list((remote / "results").files().values())
    assert len(sizes) > 3
    assert max(sizes) < 6000
    assert read(remote) == records(0, 60)


def _append_for_ever(where: str, begin: int, wrote: Any) -> None:
    with open_log(place(where)) as writer:
        for number in itertools.count(begin):
            writer.append(record(number))
            wrote.value = number + 1
            time.sleep(0.01)


def test_a_killed_writer_leaves_a_prefix_and_the_next_goes_on(remote: Place) -> None:
    chance = random.Random(3)
    begin = 0
    for _ in range(5):
        wrote = CONTEXT.Value("i", begin)
        writer = CONTEXT.Process(target=_append_for_ever, args=(str(remote), begin, wrote))
        writer.start()
        wait_for(lambda wrote=wrote, begin=begin: wrote.value > begin)  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.6))
        writer.kill()
        writer.join()
        found = read(remote)
        assert found == records(0, len(found))
        assert begin <= len(found) <= wrote.value + 1
        begin = len(found)
    assert begin > 5


@pytest.mark.parametrize("how", ["SlowDown", "drop"])
def test_an_outage_neither_stops_the_search_nor_loses_a_record(
    how: str, store: s3.Server, remote: Place
) -> None:
    told: list[str] = []
    with open_log(remote.patient(told.append)) as writer:
        writer.append(record(0))
        wait_for(lambda: len(read(remote)) == 1)
        with store.outage(how):
            for each in records(1, 40):
                begun = time.monotonic()
                writer.append(each)
                assert time.monotonic() - begun < 0.5
                time.sleep(0.05)
        for each in records(40, 50):
            writer.append(each)
    assert read(remote) == records(0, 50)
    assert len(told) == 1


def test_an_outage_beyond_patience_is_told_at_the_next_record_and_at_the_end(
    store: s3.Server, remote: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "PATIENCE", 1.6)
    monkeypatch.setattr(lock, "IMPATIENCE", 0.0)
    writer = open_log(remote.patient())
    writer.append(record(0))
    wait_for(lambda: len(read(remote)) == 1)

    def append() -> bool:
        writer.append(record(1))
        return False

    with store.outage(), pytest.raises(StorageError, match=r"0001.jsonl.* cannot be written in 2 seconds"):
        wait_for(append)
    with pytest.raises(StorageError, match="cannot be written in 2 seconds"):
        writer.__exit__(None, None, None)
    assert read(remote) == records(0, 1)


def test_what_nobody_foresaw_is_told_too(remote: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(place: Place, data: bytes) -> None:
        raise RuntimeError("a bug")

    writer = open_log(remote)
    monkeypatch.setattr(type(remote), "write", write)
    writer.append(record(0))
    with pytest.raises(StorageError, match="cannot be written: RuntimeError: a bug"):
        writer.__exit__(None, None, None)


def test_a_launch_that_another_has_replaced_stops_writing(
    remote: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "RENEWED", 0.2)
    writer = open_log(remote)
    writer.append(record(0))
    wait_for(lambda: len(read(remote)) == 1)
    (remote / "leases").delete()  # as one does that finds the claim to be stale
    with open_log(remote):

        def append() -> bool:
            writer.append(record(1))
            return False

        with pytest.raises(StorageError, match="can no longer be written by this process: "):
            wait_for(append)
    with contextlib.suppress(StorageError):  # at the end it may be told again
        writer.__exit__(None, None, None)


def test_a_launch_that_slept_asks_before_it_writes(remote: Place) -> None:
    """A machine may have been suspended for longer than a claim lasts; the first who wakes is the log."""
    writer = open_log(remote)
    writer.append(record(0))
    wait_for(lambda: len(read(remote)) == 1)
    lease = writer._lock
    assert isinstance(lease, lock._Lease)
    lease._renewed -= lock.STALE
    writer.append(record(1))
    wait_for(lambda: len(read(remote)) == 2)  # nobody has come: it still has it
    (remote / "leases").delete()
    lease._renewed -= lock.STALE
    writer.append(record(2))
    with pytest.raises(
        StorageError, match="no longer be written by this process: its claim has been deleted"
    ):
        writer.__exit__(None, None, None)
    assert read(remote) == records(0, 2)
