"""Paths that the operating system refuses, in every command: one sentence with the path and the reason."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.run_many import Ended, run_many

RUN = ROOT / "tests" / "assets" / "mixed"
READING = ["status", "results", "best", "report", "prune-checkpoints"]
ALL = [*READING, "resume", "replicate", "evaluate"]
# Command line -> what the sentence says. Nobody may enter the folder `closed`.
REFUSED = {
    "search closed/s.yaml": "search file closed/s.yaml cannot be read: Permission denied",
    "search unreadable.yaml": "unreadable.yaml cannot be read: Permission denied",
    "search digits --runs closed/runs --name new": "closed/runs/new cannot be read: Permission denied",
    "search digits --dry-run --runs closed --name new": "closed/new cannot be read: Permission denied",
    "search fashion-mnist-rgsm --dry-run --set data.folder=closed": "Permission denied",
    "status named --runs closed": "closed/named/search.yaml cannot be read: Permission denied",
    "export closed/run t0001": "closed/run cannot be read: Permission denied",
    **{f"{command} closed/run": "closed/run cannot be read: Permission denied" for command in ALL},
    "results run -o closed/x.csv": "closed/x.csv cannot be read: Permission denied",
    "report run -o closed/report": "closed/report cannot be read: Permission denied",
    # Single files of a run that can be entered.
    **{f"{command} log": "0002.jsonl cannot be read: Permission denied" for command in ALL},
    **{f"{command} search": "search/search.yaml cannot be read: Permission denied" for command in ALL},
    **{f"{command} lock": "lock/lock cannot be read: Permission denied" for command in READING[:2]},
    "resume lock": "lock cannot be written: Permission denied",
    "status trials": "trials/trials/t0001 cannot be read: Permission denied",
    "export checkpoint t0001": "epoch-0004.safetensors cannot be read: Permission denied",
    # No files, no folders.
    "search pipe.yaml": "pipe.yaml cannot be read: it is not a regular file",
    "search folder.yaml": "folder.yaml cannot be read: Is a directory",
    "search loop.yaml": "search file loop.yaml cannot be read: Too many levels of symbolic links",
    "search /dev/zero": "/dev/zero cannot be read: it is not a regular file",
    "search /proc/self/mem": "/proc/self/mem cannot be read: Input/output error",
    f"search {'ü' * 200}.yaml": "... (205 characters) cannot be read: File name too long",
    "search unreadable.yaml/s.yaml": "search file unreadable.yaml/s.yaml does not exist",
    "search digits --runs pipe.yaml": "Not a directory",
    "status /dev/null": "/dev/null/search.yaml cannot be read: Not a directory",
    "status loop.yaml": "loop.yaml cannot be read: Too many levels of symbolic links",
    "status a\x1b[31m\nb": r"a\x1b[31m\nb is not a run folder: it does not exist",
    "status " + "x/" * 3000: "... (5999 characters) cannot be read: File name too long",
    "status piped": "piped/results/0001.jsonl cannot be read: it is not a regular file",
    "results piped": "piped/results/0001.jsonl cannot be read: it is not a regular file",
    "status piped-file": "piped-file/search.yaml cannot be read: it is not a regular file",
    "status flat": "flat/results cannot be read: it is not a folder",
    "results flat": "flat/results cannot be read: it is not a folder",
    "results run -o folder.yaml": "folder.yaml cannot be written: Is a directory",
    "results run -o pipe.yaml/x": "pipe.yaml/x cannot be written: Not a directory",
    "results run -o /dev/full": "/dev/full cannot be written: No space left on device",
    "report run -o pipe.yaml": "which is a file; a folder is expected",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("refused")
    for name in ("run", "log", "search", "lock", "trials", "checkpoint", "piped", "piped-file", "flat"):
        shutil.copytree(RUN, home / name)
    (home / "closed").mkdir()
    (home / "lock" / "lock").touch()
    (home / "unreadable.yaml").write_text("data: {dataset: digits}")
    (home / "folder.yaml").mkdir()
    (home / "loop.yaml").symlink_to("loop.yaml")
    os.mkfifo(home / "pipe.yaml")
    for file in ("piped/results/0001.jsonl", "piped-file/search.yaml"):
        (home / file).unlink()
        os.mkfifo(home / file)
    shutil.rmtree(home / "flat" / "results")
    (home / "flat" / "results").touch()
    closed = ["closed", "unreadable.yaml", "log/results/0002.jsonl", "search/search.yaml", "lock/lock"]
    closed += ["trials/trials/t0001", "checkpoint/trials/t0001/epoch-0004.safetensors"]
    for name in closed:
        (home / name).chmod(0)
    yield home
    for name in closed:
        (home / name).chmod(0o700)


@pytest.fixture(scope="module")
def ended(folder: Path) -> dict[str, Ended]:
    lines = [line.split(" ") if "\n" in line else line.split() for line in REFUSED]
    return dict(zip(REFUSED, run_many(lines, folder), strict=True))


@pytest.mark.parametrize("line", REFUSED, ids=[line[:60] for line in REFUSED])
def test_the_sentence_names_the_path_and_the_reason(line: str, ended: dict[str, Ended]) -> None:
    found = ended[line]
    assert found.uncaught is None
    assert found.code in (1, 2)
    assert REFUSED[line] in found.stderr
    assert found.stderr.startswith("rtune: ")
    assert len(found.stderr.splitlines()) == 1


def test_what_is_refused_is_left_as_it_was(folder: Path, ended: dict[str, Ended]) -> None:
    assert not [path for path in folder.rglob("*") if path.name.startswith(".") or "partial" in path.name]
    assert not list((folder / "folder.yaml").iterdir())
    assert not (folder / "runs").exists()


def test_a_device_and_a_link_that_are_named_for_output_stay_what_they_are(tmp_path: Path) -> None:
    device, link, target = (tmp_path / name for name in ("null", "link.csv", "target.csv"))
    device.symlink_to("/dev/null")
    target.write_text("old")
    link.symlink_to(target)
    lines = [["results", str(RUN), "-o", str(path)] for path in (device, link)]
    assert [found.code for found in run_many(lines, tmp_path)] == [0, 0]
    assert os.readlink(device) == "/dev/null"
    assert Path("/dev/null").is_char_device()
    assert os.readlink(link) == str(target)
    assert target.read_text().startswith("trial,epoch,")


def test_a_working_directory_that_is_gone_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"cd {gone} && rmdir {gone} && exec {sys.executable} -m rtune"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for arguments, code, words in [
        (f"status {RUN}", 0, ""),
        ("search fashion-mnist-rgsm --set data.folder=x", 2, "data.folder x cannot be used: No such file"),
        (f"results {RUN} -o x.csv", 1, "x.csv cannot be written: No such file"),
    ]:
        done = subprocess.run(
            ["sh", "-c", f"{command} {arguments}"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr
        assert len(done.stderr.splitlines()) == (code != 0)
        gone.mkdir()
