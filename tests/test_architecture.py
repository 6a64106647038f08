"""The walls of the house, and that the command line stays quick to open."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def test_several_workers_share_tests_by_groups(request: pytest.FixtureRequest) -> None:
    """Else two clusters run at once, and each worker trains what a file's tests share."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@test_architecture.py")


def test_the_walls_hold() -> None:
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml")) == EXIT_STATUS_SUCCESS


def test_every_room_is_in_the_prohibitions_that_name_rooms() -> None:
    """The layers are exhaustive; the contracts on Ray, torch and analysis/ name rooms."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (c["layers"] for c in contracts if c["type"] == "layers" and c["containers"] == ["rtune"])
    rooms = {f"rtune.{room.strip()}" for layer in layers for room in layer.split("|")}
    may_use = {
        "ray": {"rtune.cluster"},
        "torch": {
            "rtune.cli",
            "rtune.dryrun",
            "rtune.cluster",
            "rtune.evaluate",
            "rtune.worker",
            "rtune.robust",
        },
        "analysis": {"rtune.cli"},
    }
    for module, users in may_use.items():
        named = [c for c in contracts if c["type"] == "forbidden" and module in c["forbidden_modules"]]
        assert rooms - users <= {source for contract in named for source in contract["source_modules"]}, (
            module
        )


def test_analysis_is_imported_by_its_name_nowhere() -> None:
    """A user may have a module of that name: see `rtune.cli.own_analysis`."""
    files = [path for folder in ("rtune", "analysis") for path in (ROOT / folder).rglob("*.py")]
    named = {
        str(path.relative_to(ROOT))
        for path in files
        if any(name.split(".")[0] == "analysis" for name in imported(path))
    }
    assert named == {"rtune/cli/own_analysis.py"}  # for the type checker


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        (
            "import rtune.cli.app, rtune.config.spec",
            {"torch", "ray", "pandas", "optuna", "plotly", "matplotlib"},
        ),
        ("import analysis, analysis.report.write", {"torch", "ray", "optuna", "rtune.robust"}),
        ("import rtune.worker.loop, rtune.worker.gpu_host", {"ray", "optuna", "pandas"}),
        ("import rtune.robust", {"ray", "optuna", "pydantic", "pandas", "analysis", "rtune.robust.fast"}),
    ],
)
def test_what_an_import_drags_in(statement: str, forbidden: set[str]) -> None:
    code = f"{statement}; import sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not forbidden & set(loaded.stdout.split())


FOLDERS = ("rtune", "analysis", "tests", "benchmarks")


def test_no_file_has_more_than_400_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): n
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if (n := len(path.read_text().splitlines())) > 400
    }
    assert not long


def test_no_folder_has_more_than_15_python_files() -> None:
    files = Counter(
        str(path.parent.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
    )
    assert {folder: n for folder, n in files.items() if n > 15} == {}


def imported(path: Path) -> Iterator[str]:
    """Every module, and every name that may be one, that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_file_imports_a_test_file_or_conftest() -> None:
    """What two test files need lies in tests/support/."""
    wrong = {
        str(path.relative_to(ROOT)): name
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for name in imported(path)
        if name.startswith("tests.") and re.search(r"\.(test_|conftest\b|unit\b|integration\b)", name)
    }
    assert not wrong
