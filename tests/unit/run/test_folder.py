"""The run folder survives what a machine can do to it."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

import analysis
from rtune.errors import RunError
from rtune.run import schema
from rtune.run.folder import RunFolder, new_run
from rtune.run.ledger import fold
from rtune.search.plan import of_spec
from rtune.search.state import Search
from rtune.storage.places import StorageError
from tests.support.run_folders.untrained import RECORDS, epoch, make, trial


def test_every_record_a_search_writes_is_read_back(tmp_path: Path) -> None:
    folder = make(tmp_path)
    written: list[dict[str, Any]] = []
    with folder.launch() as writer:
        search = Search(of_spec(folder.spec, 6), [], lambda r: (writer.append(r), written.append(r)))
        search.end(search.next_trial().id, "diverged", "the loss is nan")
        while (found := search.next_trial()) is not None:
            level = 1 - int(found.id[1:]) / 10  # the first are the best
            number = found.epoch + 1
            metrics = dict.fromkeys(schema.EPOCH, level) | {"images": 100}
            while search.report(found.id, number, metrics):
                number += 1
    log = folder.read()
    assert log.notes == []
    assert log.records == json.loads(json.dumps(written))
    assert {r["kind"] for r in log.records} == {"trial", "epoch", "promote", "end"}


def test_records_come_back_in_order_over_launches(tmp_path: Path) -> None:
    folder = make(tmp_path)
    for part in (RECORDS[:2], RECORDS[2:]):
        with folder.launch() as writer:
            for record in part:
                writer.append(record)
    log = RunFolder(folder.place.local).read()
    assert log.records == RECORDS
    assert log.notes == []
    assert len(list((folder.place.local / "results").iterdir())) == 2


def test_cut_at_any_byte_it_stays_readable(tmp_path: Path) -> None:
    folder = make(tmp_path)
    with folder.launch() as writer:
        for record in RECORDS:
            writer.append(record)
    segment = next((folder.place.local / "results").iterdir())
    whole = segment.read_bytes()
    ends = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        segment.write_bytes(whole[:cut])
        log = folder.read()
        complete = sum(end <= cut for end in ends)
        assert log.records == RECORDS[:complete]
        assert len(log.notes) == (
            0 if complete == cut == 0 or cut in (e + 1 for e in ends) or cut in ends else 1
        )
        with folder.launch() as writer:  # the next launch is not harmed by the torn end
            writer.append(trial("t0003"))
        assert folder.read().records == [*RECORDS[:complete], trial("t0003")]
        segment.with_name("0002.jsonl").unlink()
    assert analysis.load(folder.place.local)["trial"].tolist() == ["t0001"] * 3


def test_rows_have_the_schemas_columns_and_types(tmp_path: Path) -> None:
    folder = make(tmp_path)
    with folder.launch() as writer:
        for record in RECORDS:
            writer.append(record)
        failure = {
            "kind": "end",
            "trial": "t0002",
            "status": "diverged",
            "epoch": 1,
            "error": "nan",
            "time": 3.0,
        }
        writer.append(failure)
    table = analysis.table(folder)
    assert table.schema.names == [*schema.HEAD.names, "pruning.rvsm.beta", *schema.TAIL.names]
    rows = analysis.load(folder)
    assert rows["epoch"].tolist() == [1, 2, 3, 1]
    assert rows["status"].tolist() == ["finished"] * 3 + ["diverged"]
    assert rows["error"].tolist()[-1] == "nan"
    assert rows["robust_accuracy"].isna().tolist() == [False] * 3 + [True]
    assert rows["macs"].tolist()[0] == 7
    assert analysis.networks(rows)["epoch"].tolist() == [3]


def test_running_means_that_a_launch_lives(tmp_path: Path) -> None:
    folder = make(tmp_path)
    with folder.launch() as writer:
        for record in RECORDS[:2]:
            writer.append(record)
        assert folder.is_live()
        assert set(analysis.load(folder)["status"]) == {"running"}
    assert not folder.is_live()
    assert set(analysis.load(folder)["status"]) == {"interrupted"}


def _hold(path: Path, ready: Any, done: Any) -> None:
    with RunFolder(path).launch():
        ready.set()
        done.wait(30)


def test_a_second_launch_is_refused_and_a_dead_ones_lock_is_gone(tmp_path: Path) -> None:
    folder = make(tmp_path)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(folder.place.local, ready, done))
    other.start()
    assert ready.wait(30)
    with pytest.raises(RunError, match="is in use: a launch is running on it"):
        folder.launch()
    other.kill()
    other.join()
    with folder.launch() as writer:
        writer.append(RECORDS[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a run folder: it has no search.yaml"),
        ("a: 1", "is an unknown field"),
        ("{", "not valid YAML"),
        ("pruning: {rvsm: {beta: {uniform: [1, 2]}}}", "has results of schema None"),
    ],
)
def test_what_is_no_run_folder_is_said(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "search.yaml").write_text(content)
    with pytest.raises(RunError, match=message):
        RunFolder(tmp_path)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_names_that_are_no_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="must be letters"):
        new_run(tmp_path, name)


def test_a_taken_name_is_refused_and_nothing_touched(tmp_path: Path) -> None:
    folder = make(tmp_path)
    before = sorted((p, p.stat().st_mtime_ns) for p in folder.place.local.rglob("*"))
    with pytest.raises(RunError, match=r"is taken: .* exists"):
        make(tmp_path)
    assert sorted((p, p.stat().st_mtime_ns) for p in folder.place.local.rglob("*")) == before


def test_no_nan_gets_into_the_log(tmp_path: Path) -> None:
    with make(tmp_path).launch() as writer, pytest.raises(ValueError, match="JSON compliant"):
        writer.append({"kind": "epoch", "robust_accuracy": float("nan")})


def test_the_fold_knows_every_end() -> None:
    ledger = fold(
        [
            *RECORDS,
            {"kind": "end", "trial": "t0002", "status": "failed", "epoch": 1, "error": "x", "time": 2.0},
        ]
    )
    assert [(t.status, t.epoch, t.error) for t in ledger.trials.values()] == [
        ("finished", 3, None),
        ("failed", 0, "x"),
    ]
    assert json.dumps(ledger.trials["t0001"].objectives(["macs", "parameters"])) == "[7, 9]"


def test_a_full_disk_tears_one_record_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path)
    with folder.launch() as writer:
        writer.append(RECORDS[0])
        segment = writer._segment
        raw = segment._file

        class Full:
            """Takes ten bytes of a record, as a disk does that has no more room."""

            def write(self, line: bytes) -> int:
                return raw.write(line[:10]) or 0

        segment._file = Full()  # type: ignore[assignment]
        with pytest.raises(StorageError, match="disk may be full"):
            writer.append(RECORDS[1])
        segment._file = raw
        with pytest.raises(StorageError, match="an earlier record"):
            writer.append(RECORDS[2])
    log = folder.read()
    assert log.records == RECORDS[:1]
    assert len(log.notes) == 1


def test_records_that_nothing_can_be_made_of_are_left_out(tmp_path: Path) -> None:
    folder = make(tmp_path)
    with folder.launch() as writer:
        writer.append(epoch("t0009", 1))  # of a trial that the log does not know
        writer.append(RECORDS[0])
        writer.append({"kind": "epoch", "trial": "t0001"})
        writer.append({"kind": "wish"})
        writer.append(RECORDS[1] | {"natural_accuracy": 1.7})  # more than all images
        writer.append(RECORDS[1])
    log = folder.read()
    assert log.records == RECORDS[:2]
    assert len(log.notes) == 4
    assert analysis.load(folder)["epoch"].tolist() == [1]
