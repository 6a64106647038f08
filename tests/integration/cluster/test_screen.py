"""Whatever becomes of the screen, a search runs to its end, and its exit code is its own."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import analysis
from tests.support.paths import ROOT

TINY = ["model.width=2", "attack.steps=1", "evaluation.steps=1", "search.early_stopping=null"]
SEARCH = ["search", "digits", "--name", "tiny", "--trials", "3", "--max-epochs", "2", "--concurrency", "1"]
SEARCH += [word for setting in TINY for word in ("--set", setting)]
pytestmark = [pytest.mark.long, pytest.mark.cluster]


def shell(line: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A line of bash, in which "$@" is the search."""
    return subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-m", "rtune", *SEARCH],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def assert_done(runs: Path) -> None:
    rows = analysis.load(runs / "runs" / "tiny")
    assert list(rows.groupby("trial").size()) == [2, 2, 2]
    assert (runs / "runs" / "tiny" / "report" / "index.html").exists()


@pytest.mark.parametrize(
    "redirected", [">/dev/full", ">&-", ">&- 2>&-", "<&- >/dev/full 2>/dev/full", "| head -n 1"]
)
def test_a_screen_that_takes_nothing(redirected: str, tmp_path: Path) -> None:
    done = shell(f'"$@" {redirected}; exit ${{PIPESTATUS[0]}}', tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert_done(tmp_path)


@pytest.mark.parametrize(
    "environment", [{"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_no_live_view_where_there_is_no_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    done = shell('"$@"', tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "1/3 t0001 finished" in done.stdout
    assert_done(tmp_path)


@pytest.mark.parametrize("ignored", [True, False])
def test_a_terminal_that_is_closed(ignored: bool, tmp_path: Path) -> None:
    """Under nohup the search goes on; without, it ends in order, as after Ctrl-C."""
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
        os.chdir(tmp_path)
        os.environ["PYTHONPATH"] = str(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "rtune", *SEARCH])
    log = tmp_path / "runs" / "tiny" / "results" / "0001.jsonl"
    while not log.exists() or b'"epoch"' not in log.read_bytes():
        os.read(terminal, 10_000)
        time.sleep(0.05)
    os.close(terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == (0 if ignored else 130)
    if ignored:
        assert_done(tmp_path)
