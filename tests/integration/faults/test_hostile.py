"""Damaged, foreign and full: what is there is used, what is not is said, and nothing saved is harmed."""

import json
import pickle
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis
from rtune.cli.app import main
from rtune.errors import RunError
from rtune.run import checkpoint_file
from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from rtune.search.plan import of_spec
from rtune.search.state import Search
from rtune.storage.places import StorageError
from rtune.worker import checkpoint, loop
from rtune.worker.messages import Note
from tests.support.evil_pickle import Evil
from tests.support.full_disk import fill
from tests.support.launches import picture_of, resume
from tests.support.run_folders.untrained import RECORDS, make
from tests.support.tasks import epochs, figures, task

# --- checkpoints --------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def swap(path: Path) -> None:
    """With another trial's, which is whole and of the same network."""
    other = replace(task(path.parent.parent / "other"), trial="t0009", seed=9)
    worker = epochs(other)
    next(worker), next(worker)
    shutil.copy(checkpoint_file.paths(path.parent.parent / "other")[0], path)


def evil(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil(path.parent / "ran")))


def evil_torch(path: Path) -> None:
    torch.save({"model": Evil(path.parent / "ran")}, path)


def older(path: Path) -> None:
    """The one before under the name of the newest."""
    shutil.copy(path.with_name("epoch-0001.safetensors"), path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return [(e, figures(m)) for e, m in epochs(task(tmp_path_factory.mktemp("straight")))]


def rewrite(path: Path, **changes: Any) -> None:
    """With a digest that is right."""
    saved = checkpoint.read(path)
    checkpoint.write(path.parent, replace(saved, **changes))


def no_figures(path: Path) -> None:
    rewrite(path, history=[checkpoint.read(path).history[0], {}])


def no_numbers(path: Path) -> None:
    first, second = checkpoint.read(path).history
    rewrite(path, history=[first, second | {"robust_accuracy": "x"}])


def no_history(path: Path) -> None:
    rewrite(path, history=[1, 2])


def less(path: Path) -> None:
    rewrite(path, tensors={k: v for k, v in checkpoint.read(path).tensors.items() if k != "momentum.0"})


def flat(path: Path) -> None:
    rewrite(path, tensors={k: v.reshape(-1) for k, v in checkpoint.read(path).tensors.items()})


DAMAGES = [cut, zero, flip, empty, swap, evil, evil_torch, older, folder]
DAMAGES += [no_figures, no_numbers, no_history, less, flat]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_replaced_by_the_previous_one(
    damage: Callable[[Path], None],
    tmp_path: Path,
    straight: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "t0001"
    worker = epochs(task(home))
    next(worker), next(worker)
    damage(home / "epoch-0002.safetensors")
    trained: list[int] = []
    measure = loop.measure_epoch
    monkeypatch.setattr(
        loop, "measure_epoch", lambda t, *rest: trained.append(t.epoch + 1) or measure(t, *rest)
    )
    if damage is folder:
        shutil.rmtree(home / "epoch-0002.safetensors")  # a file can be written there again
    notes: list[Note] = []
    logged = 1 if damage is no_figures else 2  # figures that are in the log are not needed
    after = list(epochs(task(home, logged=logged), notes))
    assert [(e, figures(m)) for e, m in after] == straight[logged:]
    assert trained == [2, 3]  # from epoch 1 on, no more
    if damage is not folder:
        (note,) = notes
        assert str(home / "epoch-0002.safetensors") in note.text
        assert note.text.endswith("; the one of epoch 1 is used")
    assert not (home / "ran").exists()


def test_lost_rows_are_recovered_from_the_checkpoint(tmp_path: Path, straight: list[Any]) -> None:
    worker = epochs(task(tmp_path))
    first = [next(worker), next(worker)]
    again = epochs(task(tmp_path, logged=0))
    assert [next(again), next(again)] == first  # with the seconds they took: they were not trained again


# --- the log ------------------------------------------------------------------------------------


def test_rows_after_a_lost_row_are_left_out(tmp_path: Path) -> None:
    made = make(tmp_path)
    with made.launch() as writer:
        for record in RECORDS:
            writer.append(record)
    segment = made.place.local / "results" / "0001.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([*lines[:1], lines[1][:-9] + b"\n", *lines[2:]]))
    log = made.read()
    assert [r["kind"] for r in log.records] == ["trial", "trial"]
    assert len(log.notes) == 3
    assert fold(log.records).trials["t0001"].epoch == 0
    doubled = [*lines, lines[1]]
    segment.write_bytes(b"".join(doubled))
    assert made.read().records == RECORDS
    assert len(made.read().notes) == 1


def test_trial_with_a_lost_record_is_suggested_again_with_its_number(run: Path) -> None:
    segment = run / "results" / "0001.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    lost = next(i for i, line in enumerate(lines) if json.loads(line)["kind"] == "trial")
    before = json.loads(lines[lost])
    lines[lost] = lines[lost][:40] + b"\n"
    segment.write_bytes(b"".join(lines))
    made = RunFolder(run)
    log = made.read()
    assert len(log.notes) == 3  # and its two epochs
    written: list[dict[str, Any]] = []
    search = Search(of_spec(made.spec), log.records, written.append)
    assert search.remaining() == 1
    again = search.next_trial()
    assert (again.id, again.seed) == (before["trial"], before["seed"])
    assert search.next_trial() is None


def test_any_valid_setting_is_read_back_from_the_log(tmp_path: Path) -> None:
    made = make(tmp_path)
    values = {
        "training.lr": 1e20,
        "pruning.rvsm.beta": 5e-324,
        "model.width": 2**40,
        "pruning.method": "rvsm",
    }
    with made.launch() as writer:
        writer.append({**RECORDS[0], "values": values})
    assert made.read().records[0]["values"] == values


@pytest.mark.parametrize(
    "values", [{"model.network": "nope"}, {"no.such": 1}, {"model": 1}, {"model.width": "x"}]
)
def test_settings_outside_the_search_are_refused(run: Path, values: dict[str, Any]) -> None:
    record = {**RECORDS[0], "trial": "t0003", "values": values}
    (run / "results" / "0002.jsonl").write_text(json.dumps(record) + "\n")
    before = picture_of(run)
    done = resume(run, "--trials", "5")
    assert done.exit_code == 2, done.output
    assert "has settings for t0003 that do not belong to this search" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert picture_of(run) == before


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damaged_log_causes_a_traceback(trained: Path, tmp_path: Path, data: st.DataObject) -> None:
    home = tmp_path / "damaged"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(trained, home)
    segment = home / "results" / "0001.jsonl"
    lines = segment.read_bytes().splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    record = json.loads(lines[number])
    if data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(lines[number]) - 1))
        line = bytearray(lines[number])
        line[position] = data.draw(st.integers(0, 255))
        lines[number] = bytes(line)
    else:
        key = data.draw(st.sampled_from(sorted(record)))
        odd = st.sampled_from([None, -1, 10**30, 1e308, "x", "", [], {}, [1], True, {"a": None}, "\ud800"])
        record[key] = data.draw(odd)
        lines[number] = json.dumps(record).encode()
    segment.write_bytes(b"\n".join(lines) + b"\n")
    found = RunFolder(home)
    log = found.read()
    Search(of_spec(found.spec), log.records, lambda r: None)
    for command in ("status", "results"):
        done = CliRunner().invoke(main, [command, str(home)])
        assert done.exit_code in (0, 2), (command, lines[number], done.exception)
        assert done.exception is None or isinstance(done.exception, SystemExit)


@pytest.mark.parametrize("name", ["\\ud800", "\\uDC00", "x\\ud83d"])
def test_half_of_a_surrogate_pair_is_a_damaged_record(run: Path, name: str) -> None:
    """JSON may spell what no encoding can write."""
    segment = run / "results" / "0001.jsonl"
    lines = segment.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if json.loads(line)["kind"] == "trial")
    record = json.loads(lines[number]) | {"sampler": "NAME"}
    whole = [json.dumps(record).replace("NAME", text) for text in (name, "\\ud83d\\ude00")]
    lines[number] = whole[0]
    segment.write_text("\n".join(lines) + "\n")
    done = CliRunner().invoke(main, ["results", str(run)])
    assert done.exit_code == 0, done.exception
    assert record["trial"] not in done.stdout
    lines[number] = whole[1]
    segment.write_text("\n".join(lines) + "\n")
    assert f"{record['trial']}," in CliRunner().invoke(main, ["results", str(run), "--format", "csv"]).stdout


# --- search.yaml --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\xfe\x00", b"a: [1", b"just words", b"search: {trials: 3}"]
)
def test_missing_or_broken_search_file_gives_one_line(run: Path, content: bytes | None) -> None:
    (run / "search.yaml").unlink()
    if content is not None:
        (run / "search.yaml").write_bytes(content)
    before = picture_of(run)
    for command in ("resume", "status", "results", "report", "evaluate", "prune-checkpoints"):
        done = CliRunner().invoke(main, [command, str(run)])
        assert done.exit_code == 2, done.output
        assert "is not a " in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert picture_of(run) == before


# --- the disk -----------------------------------------------------------------------------------


def test_read_only_folder_can_be_read_and_a_launch_is_refused(run: Path, disk: Path) -> None:
    shutil.copytree(run, disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = resume(disk / "run", "--trials", "9")
    assert done.exit_code == 2, done.output
    assert done.stderr.strip().endswith("run cannot be written: Read-only file system")
    assert len(done.stderr.splitlines()) == 1
    for command in ("status", "results"):
        assert CliRunner().invoke(main, [command, str(disk / "run")]).exit_code == 0
    for command, code in (("report", 1), ("prune-checkpoints", 2)):
        done = CliRunner().invoke(main, [command, str(disk / "run")])
        assert done.exit_code == code, done.output
        assert "Read-only file system" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    new = CliRunner().invoke(main, ["search", "digits", "--runs", str(disk), "--name", "new"])
    assert new.exit_code == 2, new.output


def test_full_disk_keeps_saved_files(disk: Path) -> None:
    made = make(disk)
    home = made.trial_folder("t0001")
    worker = epochs(replace(task(disk / "unused"), folder=str(home)))
    rows = [next(worker)]
    with made.launch() as writer:
        writer.append(RECORDS[0])
        fill(disk)
        with pytest.raises(StorageError, match=r"epoch-0002.safetensors cannot be written: No space left"):
            next(worker)
        with pytest.raises(StorageError, match=r"0001.jsonl cannot be written|the disk may be full"):
            append_many(writer)
    log = made.read()
    assert log.records[0] == RECORDS[0]
    assert len(log.notes) <= 1
    assert [p.name for p in checkpoint_file.paths(home.local)] == ["epoch-0001.safetensors"]
    assert not list(home.local.glob("*.partial"))
    (disk / "filler").unlink()
    rest = list(epochs(replace(task(disk / "unused"), folder=str(home), logged=1)))
    assert [e for e, _ in rows + rest] == [1, 2, 3]


def append_many(writer: Any) -> None:
    for number in range(2, 10_000):
        writer.append(RECORDS[2] | {"trial": f"t{number:04d}"})


def test_failed_creation_of_a_run_leaves_no_files(disk: Path) -> None:
    fill(disk)
    with pytest.raises(RunError, match=r"run folder .* cannot be made: .*No space left"):
        make(disk)
    assert [p.name for p in disk.iterdir()] == ["filler"]


def test_moved_run_has_the_same_results(run: Path, tmp_path: Path) -> None:
    before = analysis.load(run)
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(run, moved)
    assert analysis.load(moved).equals(before)
