"""Streams that do not take what is printed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtune import console
from tests.support.paths import ROOT


@pytest.fixture
def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def test_a_full_device_raises_until_it_is_told_to_drop(full: int) -> None:
    stream = console.Stream(full)
    with pytest.raises(console.OutputError, match="No space left on device"):
        print("one line", file=stream)
    stream.drop()
    print("another", file=stream)
    stream.flush()
    os.close(full)


def test_a_pipe_that_does_not_block_takes_everything() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    text = "x" * 1_000_000
    reader = subprocess.Popen(["wc", "-c"], stdin=reading, stdout=subprocess.PIPE)
    os.close(reading)
    print(text, file=console.Stream(writing), flush=True)
    os.close(writing)
    assert reader.communicate()[0].strip() == b"1000001"


@pytest.mark.parametrize("size", ["0", "-1", "wide", "²", "9" * 5000])
def test_a_size_of_the_screen_that_is_none_is_ignored(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "LINES"):
        monkeypatch.setenv(name, size)
    terminal, other = os.openpty()
    with open(other, "w", encoding="utf-8") as screen:
        made = console.make_console(screen)
        assert (made.width, made.height) == (80, 25)
        made.print("printed")
    assert os.read(terminal, 100).startswith(b"printed")
    os.close(terminal)


def test_only_a_terminal_is_one_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with open(tmp_path / "log", "w", encoding="utf-8") as file:
        assert not console.make_console(file).is_terminal


def test_complaints_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.complain("a\nb\x1b[31m\udcff λ")
    assert capsys.readouterr().err == "rtune: a\\nb\\x1b[31m\\udcff λ\n"


def rtune(redirected: str, *args: str) -> "subprocess.CompletedProcess[str]":
    """As a shell runs it, with its output redirected."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-m", "rtune", *args],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("redirected", "reason", "args"),
    [
        (">/dev/full", "No space left on device", ["--help"]),
        (">&-", "Bad file descriptor", ["status", str(ROOT / "tests" / "assets" / "mixed"), "--json"]),
    ],
)
def test_a_command_that_cannot_print_says_so(redirected: str, reason: str, args: list[str]) -> None:
    done = rtune(redirected, *args)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"rtune: standard output cannot be written: {reason}\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    done = rtune("| head -n 1", "schema")
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_without_standard_error_the_exit_code_tells() -> None:
    for redirected in ("2>/dev/full", "<&- >&- 2>&-"):
        assert rtune(redirected, "status", "nowhere").returncode == 2


def test_what_an_encoding_lacks_becomes_a_question_mark() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from rtune import console; console.open_standard_streams(); print('λ1')"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("?1\n", "")
