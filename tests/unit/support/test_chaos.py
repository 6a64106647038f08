"""`make chaos`: its checks detect lost, doubled and changed rows; its seed determines the faults."""

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rtune.run.claim import create
from rtune.run.folder import RunFolder
from rtune.search.plan import of_spec
from rtune.search.state import Search
from tests.support.cluster.chaos import check
from tests.support.cluster.chaos.check import Harm
from tests.support.cluster.chaos.faults import KINDS, sequence, tear
from tests.support.plans import drive, make_spec

Record = dict[str, Any]
TRIALS, EPOCHS = 6, 9


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A finished, undisturbed search, two trials at once."""
    spec = make_spec("random", TRIALS)
    folder = create(tmp_path, "run", spec, {})
    with folder.launch() as writer:
        drive(Search(of_spec(spec), [], writer.append), None, workers=2)
    return folder


def log(folder: RunFolder) -> Path:
    assert folder.place.local is not None
    return folder.place.local / "results" / "0001.jsonl"


def records(folder: RunFolder) -> list[Record]:
    return check.whole_lines(folder.place / "results")


def write(folder: RunFolder, found: list[Record]) -> None:
    log(folder).write_text("".join(json.dumps(record) + "\n" for record in found))


def at(found: list[Record], kind: str, **values: Any) -> int:
    """Where the last such record is."""
    return max(
        i for i, r in enumerate(found) if r["kind"] == kind and all(r.get(k) == v for k, v in values.items())
    )


def test_undisturbed_log_has_no_problem(folder: RunFolder) -> None:
    assert check.problems(folder, TRIALS, EPOCHS) == []
    assert check.harm(records(folder), records(folder)) == Harm()
    assert check.harm(records(folder)[:7], records(folder)) == Harm()


@pytest.mark.parametrize("kind", ["epoch", "trial"])
@pytest.mark.parametrize("copy", [dict, lambda r: {**r, "time": r["time"] + 1}])
def test_doubled_row_is_found(folder: RunFolder, kind: str, copy: Callable[[Record], Record]) -> None:
    before = records(folder)
    row = before[at(before, kind)]
    write(folder, [*before, copy(row)])
    assert check.harm(before, records(folder)) == Harm(doubled=1)
    assert any("lines are whole" in problem for problem in check.problems(folder, TRIALS, EPOCHS))


@pytest.mark.parametrize("kind", ["epoch", "trial", "promote"])
def test_lost_record_is_found(folder: RunFolder, kind: str) -> None:
    before = records(folder)
    where = at(before, kind)
    write(folder, before[:where] + before[where + 1 :])
    assert check.harm(before, records(folder)) == Harm(lost=1)
    assert check.problems(folder, TRIALS, EPOCHS)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("epoch", {"natural_accuracy": 0.123}),
        ("epoch", {"decision": "stop"}),
        ("epoch", {"rung_position": 5}),
        ("trial", {"seed": 1}),
        ("trial", {"values": {}}),
    ],
)
def test_changed_row_is_found(folder: RunFolder, kind: str, change: Record) -> None:
    before = records(folder)
    wanted = {"decision": "finish"} if kind == "epoch" else {}
    where = at(before, kind, **wanted)
    write(folder, [*before[:where], {**before[where], **change}, *before[where + 1 :]])
    assert check.harm(before, records(folder)) == Harm(changed=1)
    if change.keys() & {"decision", "rung_position", "seed", "values"}:
        assert check.problems(folder, TRIALS, EPOCHS)


def test_failed_and_unfinished_trials_are_found(folder: RunFolder) -> None:
    before = records(folder)
    where = at(before, "epoch", decision="finish")
    last = before[where]
    end = {"kind": "end", "trial": last["trial"], "status": "failed", "epoch": last["epoch"], "error": "why"}
    for after in ([{**end, "time": last["time"]}], []):
        write(folder, [*before[:where], *after, *before[where + 1 :]])
        status = "failed: why" if after else "running: None"
        assert f"{last['trial']} is {status}" in check.problems(folder, TRIALS, EPOCHS)
    assert check.problems(folder, TRIALS + 1, EPOCHS)


def test_repeated_epochs_are_counted() -> None:
    trace = "begin t0001 1\nbegin t0001 1\nsaved t0001 1\nbegin t0002 1\n"
    assert check.epochs_again(trace) == (1, 0)
    assert check.epochs_again(f"{trace}begin t0001 1\n") == (2, 1)
    assert check.epochs_again(f"{trace}begin t0001 1\n", {"t0001"}) == (2, 0)


@pytest.mark.parametrize("seed", range(8))
def test_metrics_of_torn_record_must_come_back(folder: RunFolder, seed: int) -> None:
    before = records(folder)
    assert before[-1]["kind"] == "epoch"
    (log(folder).parent / "0002.jsonl").touch()  # of a launch that was killed before its first record
    assert tear(log(folder).parent, random.Random(seed)) == [before[-1]]
    assert records(folder) == before[:-1]
    assert [r["kind"] for r in folder.read().records] == [r["kind"] for r in before[:-1]]
    torn = before[-1]
    assert not check.comes_back(torn, records(folder))
    assert check.comes_back(torn, [{**torn, "time": 0.0, "decision": "stop", "rung": 3}])
    assert not check.comes_back(torn, [{**torn, "natural_accuracy": 0.123}])
    assert not check.comes_back(torn, [{**torn, "epoch": torn["epoch"] + 1}])


def test_seed_determines_faults_and_kinds_are_equally_frequent() -> None:
    kinds = list(KINDS)
    first, again, other = (
        list(itertools.islice(sequence(seed, kinds), 10 * len(kinds)))
        for seed in ("0 disk", "0 disk", "1 disk")
    )
    assert first == again != other
    assert all([fault.kind for fault in first].count(kind) == 10 for kind in kinds)
    assert {KINDS[fault.kind].early for fault in first if fault.early is not None} == {True}
