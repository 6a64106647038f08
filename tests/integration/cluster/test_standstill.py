"""Time that stands still: Ctrl-Z, a frozen container, a suspended machine. Healthy workers are not killed."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from tests.support.cluster.searches import TINY, check_whole, family, logged, start
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.long]

TIMEOUT = 8
OPTIONS = ["--trials", "2", "--concurrency", "2", "--set", "points=[]", *TINY]
OPTIONS += ["--set", "search.early_stopping=null", "--set", f"search.report_timeout={TIMEOUT}s"]


def send(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            os.kill(process.pid, number)


def stopped(process: "subprocess.Popen[str]", all_of_them: bool) -> list[psutil.Process]:
    """What Ctrl-Z stops (the driver), or a frozen container (all)."""
    driver = psutil.Process(process.pid)
    return [driver, *family(process)] if all_of_them else [driver]


@pytest.mark.parametrize("all_of_them", [False, True])
def test_a_stop_longer_than_the_timeout_costs_no_worker(tmp_path: Path, all_of_them: bool) -> None:
    run = tmp_path / "runs" / "run"
    process = start(tmp_path, "search", "digits", "--name", "run", "--max-epochs", "12", *OPTIONS)
    wait_for(logged(run, 3))
    those = stopped(process, all_of_them)
    send(those, signal.SIGSTOP)
    time.sleep(2.5 * TIMEOUT)
    send(those[::-1], signal.SIGCONT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "hung" not in output
    assert set(check_whole(run, 12)["status"]) == {"finished"}
    trials = fold(RunFolder(run).read().records).trials
    assert [len(trial.retries) for trial in trials.values()] == [0, 0]


def test_a_worker_that_alone_is_stopped_counts_as_hung(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "run"
    process = start(tmp_path, "search", "digits", "--name", "run", "--max-epochs", "12", *OPTIONS)
    wait_for(logged(run, 3))
    worker = next(p for p in family(process) if any("ray::ImplicitFunc" in part for part in p.cmdline()))
    send([worker], signal.SIGSTOP)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert f"the trial is retried: no epoch within {TIMEOUT} seconds: its worker hung" in output
    assert set(check_whole(run, 12)["status"]) == {"finished"}


def test_a_stop_uses_no_time_budget(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "run"
    options = ["--max-epochs", "400", "--time-budget", "40s", *OPTIONS]
    process = start(tmp_path, "search", "digits", "--name", "run", *options)
    wait_for(logged(run, 2))
    before = len(check_whole(run, 400))
    send(stopped(process, True), signal.SIGSTOP)
    time.sleep(45)
    send(stopped(process, True)[::-1], signal.SIGCONT)
    wait_for(logged(run, before + 4))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "ended early (time budget)" in output
