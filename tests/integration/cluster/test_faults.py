"""Trials that misbehave on a real Ray cluster: tried again, then recorded; the search goes on."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

import analysis
from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from tests.support.cluster.searches import TINY, check_kept, check_whole, family, logged, start
from tests.support.full_disk import fill
from tests.support.waiting import wait_for

pytestmark = pytest.mark.cluster

SIZES = ["--name", "run", "--concurrency", "2", "--set", "points=[]", "--set", "search.early_stopping=null"]


def begin(folder: Path, faults: dict[str, Any], *args: str, **environment: str) -> "subprocess.Popen[str]":
    told = {"TRACE": str(folder / "trace"), "FAULTS": json.dumps(faults)}
    return start(folder, *args, module="tests.support.cluster.traced", **told, **environment)


def fault(how: str, times: int, epoch: int = 2) -> dict[str, Any]:
    return {"how": how, "times": times, "epoch": epoch}


@pytest.mark.long
def test_each_kind_of_failure_is_retried_and_then_recorded_with_its_reason(tmp_path: Path) -> None:
    faults = {
        "t0001": fault("exit", 1),  # goes on at its second try
        "t0002": fault("kill", 9),
        "t0003": fault("sleep", 9, epoch=1),
        "t0004": fault("stop", 1),
        "t0005": fault("gil", 1),
        "t0006": fault("raise", 1),
        "t0007": fault("raise", 9, epoch=3),
    }
    options = ["--trials", "8", "--max-epochs", "3", "--set", "search.max_failures=1"]
    options += ["--set", "search.report_timeout=10s", *SIZES, *TINY]
    process = begin(tmp_path, faults, "search", "digits", *options)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    run = tmp_path / "runs" / "run"
    check_whole(run, 3)
    trials = fold(RunFolder(run).read().records).trials
    assert {name for name, t in trials.items() if t.status == "finished"} == {
        "t0001", "t0004", "t0005", "t0006", "t0008",
    }  # fmt: skip
    assert {name: len(t.retries) for name, t in trials.items()} == {
        "t0001": 1, "t0002": 1, "t0003": 1, "t0004": 1, "t0005": 1, "t0006": 1, "t0007": 1, "t0008": 0,
    }  # fmt: skip
    assert (trials["t0002"].status, trials["t0002"].ended_epoch) == ("failed", 2)
    assert trials["t0002"].error.startswith("its worker process died: killed, out of memory")
    assert trials["t0003"].error == "no epoch within 10 seconds: its worker hung and was killed"
    assert trials["t0007"].error == "ValueError: as told, 0x7f3a"
    # Tried again from the checkpoint: no epoch that was saved ran twice.
    trace = (tmp_path / "trace").read_text().splitlines()
    assert trace.count("begin t0006 1") == 1
    assert trace.count("begin t0006 2") == 2
    # What has ended keeps one checkpoint, what has failed not even its folder.
    kept = {p.name: len(list(p.glob("*.safetensors"))) for p in (run / "trials").iterdir()}
    assert kept == {name: 1 for name, trial in trials.items() if trial.status == "finished"}


@pytest.mark.long
def test_retries_are_counted_from_zero_after_progress(tmp_path: Path) -> None:
    """A spot machine's fate: more failures in all than a trial may have without getting further."""
    run = tmp_path / "runs" / "run"
    options = ["--trials", "1", "--max-epochs", "12", "--set", "search.max_failures=1", *SIZES, *TINY]
    process = begin(tmp_path, {}, "search", "digits", *options)
    killed = 0
    for epochs in (1, 3, 5):
        wait_for(logged(run, epochs))
        for worker in family(process):
            if any("ray::ImplicitFunc" in part for part in worker.cmdline()):
                worker.kill()
                killed += 1
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert killed == 3
    assert check_whole(run, 12)["status"].tolist() == ["finished"] * 12


@pytest.mark.long
def test_search_ends_if_the_first_trials_all_fail_for_the_same_reason(tmp_path: Path) -> None:
    faults = {f"t{n:04d}": fault("raise", 9, epoch=1) for n in range(1, 9)}
    options = ["--trials", "8", "--max-epochs", "2", "--set", "search.max_failures=0", *SIZES, *TINY]
    process = begin(tmp_path, faults, "search", "digits", *options)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    last = output.splitlines()[-1]
    assert last.startswith("rtune: the launch broke off: the first 3 trials have all failed in the same way")
    assert "ValueError: as told" in last
    assert "Go on with: rtune resume runs/run" in last
    trials = fold(RunFolder(tmp_path / "runs" / "run").read().records).trials
    assert [t.status for t in trials.values()].count("failed") == 3
    assert len(trials) <= 5


@pytest.mark.long
@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
def test_launch_ends_with_one_line_when_ray_dies_and_can_be_resumed(
    tmp_path: Path, victim: str, rtune: Any
) -> None:
    run = tmp_path / "runs" / "run"
    options = ["--trials", "2", "--max-epochs", "6", *SIZES, *TINY]
    process = begin(tmp_path, {}, "search", "digits", *options)
    wait_for(logged(run, 2))
    (found,) = [p for p in family(process) if p.name() == victim]
    found.kill()
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert output.splitlines()[-1].startswith(
        "rtune: the launch broke off: Ray has died on this machine; every finished epoch is saved"
    )
    done = rtune("resume", str(run))
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(check_whole(run, 6)["status"]) == {"finished"}


@pytest.mark.long
def test_full_disk_ends_the_launch_but_fails_no_trial(tmp_path: Path, disk: Path, rtune: Any) -> None:
    run = disk / "run"
    options = ["--runs", str(disk), "--trials", "3", "--max-epochs", "9", *SIZES, *TINY]
    process = begin(tmp_path, {}, "search", "digits", *options)
    wait_for(logged(run, 2))
    fill(disk)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    last = output.splitlines()[-1]
    assert last.startswith("rtune: the launch broke off: ")
    assert "No space left on device" in last
    before = check_whole(run, 9)
    assert set(before["status"]) <= {"interrupted", "finished"}
    (disk / "filler").unlink()
    done = rtune("resume", str(run))
    assert done.returncode == 0, done.stdout + done.stderr
    after = check_whole(run, 9)
    assert after["status"].tolist() == ["finished"] * 27
    check_kept(before, after)


@pytest.mark.long
def test_sigterm_to_all_processes_ends_the_launch_cleanly(tmp_path: Path) -> None:
    """As a batch system or a container does it: Ray's own processes get the signal too."""
    run = tmp_path / "runs" / "run"
    process = begin(tmp_path, {}, "search", "digits", "--trials", "4", "--max-epochs", "9", *SIZES, *TINY)
    wait_for(logged(run, 2))
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "every finished epoch is saved. Go on with: rtune resume runs/run" in output
    check_whole(run, 9)


@pytest.mark.long
def test_out_of_memory_ends_neither_the_search_nor_the_other_trial(tmp_path: Path) -> None:
    """Ray's own memory monitor, as a cluster that others started has it: it ends all of Ray Tune."""
    used = psutil.virtual_memory()
    threshold = (used.total - used.available + 4e9) / used.total
    options = ["--trials", "2", "--max-epochs", "3", *SIZES, *TINY]
    process = begin(
        tmp_path,
        {"t0001": fault("memory", 1)},
        "search",
        "digits",
        *options,
        RAY_memory_monitor_refresh_ms="100",
        RAY_memory_usage_threshold=f"{threshold:.3f}",
    )
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "t0001: the worker failed; the trial is retried: a machine ran out of memory" in output
    rows = analysis.load(tmp_path / "runs" / "run")
    assert set(rows["status"]) == {"finished"}
