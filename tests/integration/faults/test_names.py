"""A user's modules and files with the names of ours, of Python's and of our libraries'."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

RUN = ROOT / "tests" / "assets" / "mixed"
NAMES = ["analysis", "benchmarks", "tests", "search_spaces", "random", "token", "secrets", "inspect"]
NAMES += [
    "click",
    "yaml",
    "numpy",
    "pandas",
    "pyarrow",
    "rich",
    "pydantic",
    "torch",
    "ray",
    "optuna",
    "jinja2",
]


def run(*args: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """A folder with a module of each name; importing one fails."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('the {name} of the user')\n")
    return tmp_path


def test_modules_in_the_working_directory_replace_none(taken: Path) -> None:
    done = run("-m", "rtune", "best", str(RUN), cwd=taken)
    assert done.returncode == 0, done.stderr
    assert "its knee is t0007" in done.stdout


@pytest.mark.parametrize("kind", ["module", "package"])
def test_rtune_and_a_user_each_import_their_own_analysis(tmp_path: Path, kind: str) -> None:
    own = tmp_path / ("analysis.py" if kind == "module" else "analysis/__init__.py")
    own.parent.mkdir(exist_ok=True)
    own.write_text("columns = 'the columns of the user'\n")
    code = f"""
from rtune.cli.app import main
import analysis
try:
    main(["best", {str(RUN)!r}])
except SystemExit as ending:
    assert ending.code == 0, ending.code
import analysis
print(analysis.columns)
"""
    done = run("-c", code, cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 0, done.stderr
    assert "its knee is t0007" in done.stdout
    assert done.stdout.endswith("the columns of the user\n")


def test_the_working_directory_comes_last(tmp_path: Path) -> None:
    code = """
import atexit, os, runpy, sys
sys.path[0] = os.getcwd()  # as `python -m` does
atexit.register(lambda: print(sys.path[0] == os.getcwd(), sys.path[-1] == os.getcwd()))
sys.argv[1:] = ["--version"]
runpy.run_module("rtune", run_name="__main__")
"""
    done = run("-c", code, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "False True", done.stderr


@pytest.mark.long
@pytest.mark.cluster
@pytest.mark.parametrize("command", [["-m", "rtune"], [str(Path(sys.executable).parent / "rtune")]])
def test_a_search_and_its_workers_use_none_of_them(taken: Path, command: list[str]) -> None:
    tiny = ["model.width=2", "attack.steps=1", "evaluation.steps=1", "search.early_stopping=null"]
    options = ["--concurrency", "1", *(word for setting in tiny for word in ("--set", setting))]
    done = run(
        *command,
        *("search", "digits", "--name", "tiny", "--trials", "2", "--max-epochs", "1"),
        *options,
        cwd=taken,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "front:" in done.stdout
