"""The walls of the house, and that the command line stays quick to open."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_several_workers_share_tests_by_groups(request: pytest.FixtureRequest) -> None:
    """Else two clusters run at once, and each worker trains what a file's tests share."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@test_architecture.py")


def test_the_walls_hold() -> None:
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml")) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        (
            "import rtune.cli.app, rtune.config.spec",
            {"torch", "ray", "pandas", "optuna", "plotly", "matplotlib"},
        ),
        ("import analysis, analysis.report", {"torch", "ray", "optuna", "rtune.robust"}),
        ("import rtune.worker.loop, rtune.worker.gpu_host", {"ray", "optuna", "pandas"}),
        ("import rtune.robust", {"ray", "optuna", "pydantic", "analysis"}),
    ],
)
def test_what_an_import_drags_in(statement: str, forbidden: set[str]) -> None:
    code = f"{statement}; import sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not forbidden & set(loaded.stdout.split())


def test_no_file_is_too_long_to_hold_in_mind() -> None:
    long = {
        str(path.relative_to(ROOT)): n
        for folder in ("rtune", "analysis", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if (n := len(path.read_text().splitlines())) > 420
    }
    assert not long
