"""Real searches on a real Ray cluster: the main job, and what may happen to it."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet
import pytest

import analysis
from tests.support.cluster.searches import TINY, check_kept, check_whole, family, kill, logged, start
from tests.support.command import Rtune
from tests.support.paths import ROOT
from tests.support.waiting import wait_for

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """A search that ran undisturbed, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    command = [
        sys.executable,
        "-m",
        "rtune",
        "search",
        "digits",
        "--name",
        "run",
        "--trials",
        "5",
        "--max-epochs",
        "4",
        *TINY,
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return folder / "runs" / "run", done


def test_search_ends_with_a_front_and_a_report(finished: tuple[Path, Any]) -> None:
    run, done = finished
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("5 trials on digits, ")
    assert lines[0].endswith("report at the end in runs/run/report/index.html")
    assert any(line.startswith("front: ") for line in lines)
    assert lines[-1] == f"report: {run / 'report' / 'index.html'}"
    assert len(lines) < 30  # no wall of framework log
    rows = check_whole(run, 4)
    assert rows["trial"].nunique() == 5
    assert set(rows["status"]) <= {"finished", "stopped"}
    assert (run / "report" / "front.csv").is_file()


def test_results_in_every_format(finished: tuple[Path, Any], tmp_path: Path, rtune: Rtune) -> None:
    run, _ = finished
    rows = analysis.load(run)
    table = pd.read_csv(io.StringIO(rtune("results", str(run)).stdout))
    assert table["epoch"].tolist() == rows["epoch"].tolist()
    assert {"trial", "epoch", "status", "pruning.method", "pruning.rgsm.lambda_1", "robust_accuracy"} <= set(
        table
    )
    found = json.loads(rtune("results", str(run), "--format", "json").stdout)
    assert [row["robust_accuracy"] for row in found] == pytest.approx(rows["robust_accuracy"].tolist())
    assert rtune("results", str(run), "--format", "parquet", "-o", "rows.parquet").returncode == 0
    assert pyarrow.parquet.read_table(tmp_path / "rows.parquet").equals(analysis.table(run))


def test_status_of_a_finished_run(finished: tuple[Path, Any], rtune: Rtune) -> None:
    facts = json.loads(rtune("status", str(finished[0]), "--json").stdout)
    assert facts["finished"] + facts["stopped"] == facts["trials"] == 5
    assert 0 < facts["hypervolume"] < 1
    assert "the search is done" in rtune("status", str(finished[0])).stdout


@pytest.mark.long
def test_moved_finished_run_continues_with_more_trials(
    finished: tuple[Path, Any], tmp_path: Path, rtune: Rtune
) -> None:
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(finished[0], moved)
    before = analysis.load(moved)
    done = rtune("resume", str(moved), "--trials", "6")
    assert done.returncode == 0, done.stderr
    after = check_whole(moved, 4)
    assert after["trial"].nunique() == 6
    check_kept(before, after)


def test_run_is_readable_and_continues_after_sigkill(tmp_path: Path, rtune: Rtune) -> None:
    run = tmp_path / "runs" / "run"
    process = start(
        tmp_path, "search", "digits", "--name", "run", "--trials", "4", "--max-epochs", "4", *TINY
    )
    wait_for(logged(run, 3))
    kill(process)
    before = check_whole(run, 4)
    facts = json.loads(rtune("status", str(run), "--json").stdout)
    assert not facts["live"]
    assert facts["interrupted"] > 0
    with (run / "results" / "0001.jsonl").open("ab") as log:
        log.write(b'{"kind":"epoch","trial":"t00')  # the record that was being written
    assert "left out, the record is incomplete" in rtune("status", str(run)).stdout
    done = rtune("resume", str(run))
    assert done.returncode == 0, done.stderr
    after = check_whole(run, 4)
    assert after["trial"].nunique() == 4
    check_kept(before, after)


def test_ctrl_c_keeps_every_finished_epoch_and_tells_how_to_continue(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "run"
    process = start(
        tmp_path, "search", "digits", "--name", "run", "--trials", "6", "--max-epochs", "9", *TINY
    )
    wait_for(logged(run, 3))
    seen = len(analysis.load(run))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole foreground group
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (
        "ended early (interrupted); every finished epoch is saved. Go on with: rtune resume runs/run"
        in output
    )
    assert "Traceback" not in output
    assert len(check_whole(run, 9)) >= seen


def test_time_budget_ends_the_launch(tmp_path: Path, rtune: Rtune) -> None:
    done = rtune("search", "digits", "--name", "run", "--trials", "50", "--time-budget", "12s", *TINY)
    assert done.returncode == 0, done.stderr
    assert "ended early (time budget)" in done.stdout
    rows = check_whole(tmp_path / "runs" / "run", 8)  # how many is the machine's business
    assert set(rows["status"]) <= {"interrupted", "finished", "stopped"}


@pytest.mark.long
def test_diverged_trial_is_recorded_and_a_storage_error_ends_only_the_launch(
    tmp_path: Path, rtune: Rtune
) -> None:
    points = "[{training.lr: 1e+20}, {training.lr: 0.05}, {training.lr: 0.06}]"
    run = tmp_path / "runs" / "run"
    args = ["--trials", "3", "--max-epochs", "2", "--concurrency", "1", "--set", f"points={points}", *TINY]
    process = start(tmp_path, "search", "digits", "--name", "run", *args)
    wait_for(lambda: run.exists())
    (run / "trials" / "t0002").write_text("in the way")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    last = output.splitlines()[-1]
    assert last.startswith("rtune: the launch broke off: ")
    assert f"{run}/trials/t0002" in last
    (run / "trials" / "t0002").unlink()
    done = rtune("resume", str(run))
    assert done.returncode == 0, done.stdout + done.stderr
    by_trial = analysis.load(run).groupby("trial")
    assert by_trial["status"].last().tolist() == ["diverged", "finished", "finished"]
    assert "the training loss is" in by_trial["error"].last()["t0001"]
    assert "t0001 diverged in epoch 1/2: " in rtune("status", str(run)).stdout


def test_trial_of_a_killed_worker_continues_from_its_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "run"
    args = ["--trials", "1", "--max-epochs", "6", "--concurrency", "1", *TINY]
    process = start(tmp_path, "search", "digits", "--name", "run", *args)
    wait_for(logged(run, 2))
    (worker,) = [
        p for p in family(process) if "train" in " ".join(p.cmdline()) and p.name().startswith("ray::")
    ]
    worker.kill()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    rows = check_whole(run, 6)
    assert rows["status"].tolist() == ["finished"] * 6
    assert "t0001: the worker failed; the trial is retried" in output


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--gpus-per-trial", "1"], "a trial needs 1 CPU and 1 GPU, but the machine has"),
        (["--concurrency", "1000"], "--concurrency is 1000 and a trial needs 1 CPU"),
        (["--address", "127.0.0.1:9"], "no Ray cluster can be used at 127.0.0.1:9"),
    ],
)
def test_impossible_options_are_refused_and_nothing_is_written(
    option: list[str], message: str, tmp_path: Path, rtune: Rtune
) -> None:
    done = rtune("search", "digits", "--name", "run", *option)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()
