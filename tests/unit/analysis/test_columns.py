"""The log read as columns gives what the log read record by record gives, whatever is in it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis
from analysis import blocks, columns
from rtune.config import spec
from rtune.run.claim import create
from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from rtune.storage.places import LocalPlace, Place
from tests.support.run_folders.logs import (
    DAMAGES,
    LOGS,
    Record,
    Segments,
    damaged,
    epoch,
    launch,
    slow_facts,
    slow_table,
    spaced,
    trial,
    written,
)

TREE: dict[str, Any] = {
    "data": {"dataset": "digits"},
    "model": {"depth": {"choice": [20, 32, 38]}},
    "pruning": {
        "method": {"choice": ["rvsm", "rgsm"]},
        "rvsm": {"beta": {"log_uniform": [0.01, 1]}},
        "rgsm": {"lambda_1": {"log_uniform": [0.01, 1]}},
    },
    "training": {"max_epochs": 3},
}
WHOLE = {pa.int64(): pd.Int64Dtype()}.get
SIZES = st.sampled_from([1, 200, 1000, 5000, 10**6])
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make(runs: Path | Place) -> RunFolder:
    return create(runs, "run", spec.from_tree(TREE, {}, "test"), {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make(tmp_path_factory.mktemp("runs"))


def write(folder: RunFolder, segments: list[bytes]) -> list[Path]:
    """Makes these segments a run's log."""
    results = Path(str(folder.place)) / "results"
    for old in results.iterdir():
        old.unlink()
    paths = [results / f"{number:04d}.jsonl" for number in range(1, len(segments) + 1)]
    for path, data in zip(paths, segments, strict=True):
        path.write_bytes(data)
    return paths


@contextlib.contextmanager
def block_size(size: int) -> Iterator[None]:
    """Context in which blocks have about so many bytes."""
    with mock.patch.object(blocks, "_BLOCK", size):
        yield


@contextlib.contextmanager
def read_one_by_one() -> Iterator[list[int]]:
    """Context that tells the numbers of epochs of the blocks that were read record by record."""
    told: list[int] = []
    plain = columns._Reader._read

    def read(self: columns._Reader, block: blocks.Block) -> columns._Checked:
        found = plain(self, block)
        told.append(len(found.trial))
        return found

    with mock.patch.object(columns._Reader, "_read", read):
        yield told


def slow_networks(rows: pd.DataFrame) -> pd.DataFrame:
    trained = rows[rows["robust_accuracy"].notna() & ~rows["status"].isin(["diverged", "failed"])]
    return trained.sort_values(["trial", "epoch"]).groupby("trial").tail(1).reset_index(drop=True)


def outcome(call: Callable[[], pa.Table]) -> Any:
    """All of a table, negative zeros too; the kind of error where a log has values that make no column."""
    try:
        table = call()
    except (ValueError, TypeError, OverflowError) as error:
        return type(error)
    columns = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in table.columns]
    return str(table.schema), repr([column.to_pylist() for column in columns])


def check_same(folder: RunFolder) -> None:
    """Tables, facts and notes are those of the log read record by record."""
    expected = outcome(lambda: slow_table(folder))
    assert outcome(lambda: analysis.table(folder)) == expected
    if isinstance(expected, type):
        return
    run, records = analysis.read(folder), folder.read()
    assert run.notes == records.notes
    assert run.launches == fold(records.records).launches
    facts = [{k: None if pd.isna(v) else v for k, v in row.items()} for row in run.trials.to_dict("records")]
    assert facts == slow_facts(folder)
    pd.testing.assert_frame_equal(run.rows, slow_table(folder).to_pandas(types_mapper=WHOLE))
    pd.testing.assert_frame_equal(analysis.networks(run.rows), slow_networks(run.rows))


@settings(UNHURRIED, max_examples=120)
@given(LOGS, SIZES, st.sampled_from([written, written, spaced]))
def test_any_log_gives_what_it_gives_record_by_record(
    folder: RunFolder, found: Segments, size: int, layout: Callable[[list[Record]], bytes]
) -> None:
    write(folder, [layout(records) for records in found])
    with block_size(size):
        check_same(folder)


@settings(UNHURRIED, max_examples=250)
@given(LOGS, SIZES, st.lists(DAMAGES, min_size=1, max_size=3))
def test_whatever_happens_to_a_log_nothing_else_comes_of_it(
    folder: RunFolder, found: Segments, size: int, damages: list[Any]
) -> None:
    write(folder, damaged([written(records) for records in found], damages))
    with block_size(size):
        check_same(folder)


# In the last epoch but one: what pyarrow alone, or a look at each record alone, would take differently.
METRIC = '"robust_accuracy":0.5'
ODD = [
    *[
        "NaN",
        "Infinity",
        "-0",
        "-0.0",
        "-1",
        "1.0000000000000002",
        "true",
        "null",
        '"1"',
        "1e400",
        "9" * 400,
        "9007199254740992",
        "1e300",
    ],
    *["[]", "{}", "1}{", "1,\n", "1}\n\0", '1,"epoch":7', '1,"kind":"trial"', '1,"k\\u0069nd":"trial"'],
    *[
        '1,"new":1,"new":2',
        '1,"new":[1]',
        '1,"new":["a"]',
        '1,"new":{"a":1}',
        '1,"new":"\xff"',
        '1,"new":NaN',
    ],
    *[
        '1,"new":9223372036854775808',
        '1,"new":"\\n"',
        '1,"rung":-1',
        '1,"rung":1.5',
        '1,"rung":9007199254740992',
    ],
]
CHANGES = [
    *((METRIC, f'"robust_accuracy":{token}') for token in ODD),
    ('"decision":"continue"', '"decision":"maybe"'),
    ('"epoch":7', '"epoch":7.0'),
    ('"epoch":7', '"epoch":8'),
    ('"t0001"', '"t0009"'),
    ('"t0001"', '"\\udc00"'),
    ('"macs":7', '"macs":7.5'),
    ('"time":1.5', '"time":9007199254740991'),
    ('"time":1.5', '"time":1e15'),
    ('"kind"', ' "kind"'),
    ("}\n", "} \n"),
    ("}\n", "}\r\n"),
    ("}\n", "}{}\n"),
    ("}\n", ',"new":\n'),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
@pytest.mark.parametrize("after", ["", "}"])
def test_an_epoch_that_is_none_or_odd(folder: RunFolder, old: str, new: str, after: str) -> None:
    records = [launch(), trial(1), *(epoch(1, number) for number in range(1, 9))]
    lines = written(records).splitlines(keepends=True)
    changed = lines[-2].replace(old.encode(), new.encode("latin-1"))
    assert changed != lines[-2]
    lines[-2:] = changed, lines[-1].replace(b"\n", after.encode() + b"\n")
    write(folder, [b"".join(lines)])
    check_same(folder)


@pytest.mark.parametrize(
    ("records", "status"),
    [
        ([epoch(1, 1), epoch(1, 2), epoch(1, 3, "finish"), launch(max_epochs=5, rungs=[3])], "stopped"),
        ([epoch(1, 1), epoch(1, 2), epoch(1, 3, "finish"), launch(max_epochs=5, rungs=[1])], "interrupted"),
        ([epoch(1, 1), epoch(1, 2, "finish"), epoch(1, 3), launch(max_epochs=3, rungs=[2])], "finished"),
        ([epoch(1, 1, "finish"), launch(max_epochs=2, rungs=[1]), epoch(1, 2), epoch(1, 3)], "stopped"),
    ],
)
def test_a_launch_lengthens_what_has_finished_by_then(
    folder: RunFolder, records: list[Record], status: str
) -> None:
    write(folder, [written([launch(), trial(1), *records])])
    check_same(folder)
    assert analysis.read(folder).trials["status"].tolist() == [status]


@pytest.mark.parametrize(
    "records",
    [
        [epoch(1, 1), trial(1), epoch(1, 2)],
        [trial(2), epoch(1, 1), epoch(2, 1), trial(1), epoch(1, 1)],
        [trial(1), epoch(1, 1), trial(1), epoch(1, 2)],
        [trial(1), epoch(1, 2), epoch(1, 1), epoch(1, 2), epoch(1, 2)],
        [trial(1), trial(2), epoch(2, 1), epoch(1, 1), epoch(1, 2), epoch(2, 2), epoch(1, 4)],
    ],
)
def test_records_that_do_not_follow(folder: RunFolder, records: list[Record]) -> None:
    write(folder, [written([launch(), *records])])
    check_same(folder)
    assert analysis.read(folder).notes != []


@pytest.mark.parametrize("segments", [[], [b""], [b"\n"], [b"", b"\n\n", b""], [b"{"], [written([launch()])]])
def test_a_log_without_epochs(folder: RunFolder, segments: list[bytes]) -> None:
    write(folder, segments)
    check_same(folder)


def test_no_log_at_all(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (tmp_path / "run" / "results").rmdir()
    check_same(folder)


def long_log() -> Segments:
    """Two launches, fifty trials of three epochs that alternate, a field that no schema knows."""
    first = [trial(number) for number in range(1, 51)]
    epochs = [epoch(i, e, "finish" if e == 3 else "continue", gpu=i) for e in (1, 2, 3) for i in range(1, 51)]
    return [[launch(), *first, *epochs[:70]], [launch(), *epochs[70:]]]


@pytest.mark.parametrize("size", [3000, 10**6])
def test_epochs_as_they_are_written_are_not_read_one_by_one(folder: RunFolder, size: int) -> None:
    write(folder, [written(records) for records in long_log()])
    with block_size(size), read_one_by_one() as told:
        assert len(analysis.load(folder)) == 150
    assert told == []


def test_a_torn_record_has_only_its_neighbours_read_one_by_one(folder: RunFolder) -> None:
    first, second = (written(records) for records in long_log())
    write(folder, [first[:-30], second])
    with block_size(3000), read_one_by_one() as told:
        notes = analysis.read(folder).notes
    # The trial whose second epoch is lost has lost its third too.
    assert [note.rsplit("/", 1)[1].split(":")[:2] for note in notes] == [
        ["0001.jsonl", "121"],
        ["0002.jsonl", "51"],
    ]
    assert len(told) == 2
    check_same(folder)


def test_rows_can_be_written_to(folder: RunFolder) -> None:
    write(folder, [written(records) for records in long_log()])
    rows = analysis.load(folder)
    for column, value in (("robust_accuracy", 0.25), ("macs", 3), ("status", "stopped")):
        rows.loc[0, column] = value
        assert rows.loc[0, column] == value


def test_a_run_in_a_store(remote: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(remote)
    records = [record for part in long_log() for record in part]
    for begin in range(0, len(records), 40):
        with folder.launch() as writer:
            for record in records[begin : begin + 40]:
                writer.append(record)
    assert len((folder.place / "results").files()) == 6
    with block_size(10_000):
        check_same(folder)


def test_while_a_launch_writes_each_record_is_seen(tmp_path: Path) -> None:
    folder = make(tmp_path)
    with folder.launch() as writer:
        for record in [launch(), trial(1), epoch(1, 1), trial(2), epoch(2, 1, "stop"), epoch(1, 2)]:
            writer.append(record)
            check_same(folder)
        assert analysis.read(folder).trials["status"].tolist() == ["running", "stopped"]
    assert analysis.read(folder).trials["status"].tolist() == ["interrupted", "stopped"]


def test_a_log_that_grows_by_halves_of_records_gives_what_is_whole(tmp_path: Path) -> None:
    folder = make(tmp_path)
    data = written([launch(), trial(1), *(epoch(1, number) for number in range(1, 301))])
    (path,) = write(folder, [b""])

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            for begin in range(0, len(data), 250):
                file.write(data[begin : begin + 250])
                time.sleep(0.002)

    writing = threading.Thread(target=grow)
    writing.start()
    seen = [0]
    with block_size(2000):
        while writing.is_alive() or seen[-1] < 300:
            run = analysis.read(folder)
            assert run.rows["epoch"].tolist() == list(range(1, len(run.rows) + 1))
            assert len(run.notes) <= 1
            seen.append(len(run.rows))
    writing.join()
    assert seen == sorted(seen)


def test_what_is_written_behind_the_end_is_left_for_the_next_time(tmp_path: Path) -> None:
    file = tmp_path / "0001.jsonl"
    file.write_bytes(b'{"a":1}\n{"b"')
    with block_size(4):
        parts = blocks._parts(LocalPlace(file))
        found = [next(parts), next(parts)]
        with file.open("ab") as more:
            more.write(b':2}\n{"c":3}\n')
        assert [*found, *parts] == [b'{"a":1}\n', b'{"b"']


def test_networks_of_rows_in_any_order(folder: RunFolder) -> None:
    write(folder, [written(records) for records in long_log()])
    rows = analysis.load(folder)
    places = np.random.default_rng(0).permutation(len(rows))
    both = pd.concat([rows.iloc[places], rows.iloc[places[:20]].assign(macs=1)])  # an index with equals
    pd.testing.assert_frame_equal(analysis.networks(both), slow_networks(both))
    assert analysis.networks(rows.head(0)).empty
