"""The wheel: what is in it, and that rtune works from it, away from the clone."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT

Installed = Callable[..., str]

# A single group of tests: they share one build, and one of them starts Ray.
pytestmark = pytest.mark.cluster


def _python(*args: object, cwd: Path, executable: object = sys.executable) -> str:
    """Output of a Python that does not see the clone."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(executable), *map(str, args)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _no_build_outputs(folder: str, names: list[str]) -> set[str]:
    """A stale `build/` would put modules into the wheel that no longer exist."""
    own = {"build", "dist", "runs", "data"} if Path(folder) == ROOT else set()
    return {
        name
        for name in names
        if name in own or name.startswith(".") or name.endswith((".egg-info", "__pycache__"))
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, from a copy of the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=_no_build_outputs)
    _python(
        *("-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"),
        *("--wheel-dir", folder / "built", folder / "source"),
        cwd=folder,
    )
    (built,) = (folder / "built").iterdir()
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the wheel, and with the dependencies of the one that runs the tests."""
    folder = tmp_path_factory.mktemp("installed")
    environment = folder / "environment"
    _python("-m", "venv", "--without-pip", environment, cwd=folder)
    _python(
        *("-m", "pip", "--python", environment / "bin" / "python"),
        *("install", "--quiet", "--no-deps", "--no-index", wheel),
        cwd=folder,
    )
    own = Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))
    # Python reads no .pth files of a folder that a .pth file names: the editable install there has no effect.
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment


@pytest.fixture
def installed(environment: Path, tmp_path: Path) -> Installed:
    """Runs the installed command in an empty folder."""
    return lambda *args: _python(
        environment / "bin" / "rtune", *args, cwd=tmp_path, executable=environment / "bin" / "python"
    )


def test_wheel_contains_the_packages_and_the_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    (metadata,) = {name.split("/")[0] for name in content if ".dist-info/" in name}
    assert {name.split("/")[0] for name in content} == {"rtune", "analysis", "search_spaces", metadata}
    assert content[f"{metadata}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    expected = {
        str(path.relative_to(ROOT))
        for package in ("rtune", "analysis", "search_spaces")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in content if not name.startswith(metadata)} == expected
    for name, data in content.items():
        for folder in (ROOT, wheel.parent.parent):
            assert f"{folder}/".encode() not in data, name
    assert wheel.stat().st_size < 1_000_000


def test_installed_wheel_is_imported_instead_of_the_clone(environment: Path, tmp_path: Path) -> None:
    code = """
import importlib.metadata, json, sys
import analysis, rtune.config.spaces as spaces
print(json.dumps({
    "files": [analysis.__file__, spaces.__file__, *map(str, spaces.built_in().values())],
    "metadata": str(importlib.metadata.distribution("rtune").locate_file("")),
    "path": sys.path,
    "finders": [str(getattr(finder, "__module__", "")) for finder in sys.meta_path],
}))
"""
    found = json.loads(_python("-c", code, cwd=tmp_path, executable=environment / "bin" / "python"))
    assert len(found["files"]) > 2
    for file in [*found["files"], found["metadata"]]:
        assert Path(file).is_relative_to(environment)
    assert str(ROOT) not in found["path"]
    assert not [name for name in found["finders"] if "editable" in name]


def test_installed_wheel_lists_search_spaces_and_prints_the_schema(
    environment: Path, installed: Installed
) -> None:
    (found,) = environment.glob("lib/python*/site-packages/search_spaces")
    (found / "foreign.yaml").write_text("of another package: that has such a folder too")
    listed = [line.split()[0] for line in installed("spaces").splitlines()]
    assert listed == sorted(file.stem for file in (ROOT / "search_spaces").glob("*.yaml"))
    assert "pruning" in json.loads(installed("schema"))["properties"]


def test_installed_wheel_searches_and_reports(installed: Installed, tmp_path: Path) -> None:
    tiny = ["model.width=2", "attack.steps=1", "evaluation.steps=1", "search.early_stopping=null"]
    options = ["--concurrency", "1", *(word for setting in tiny for word in ("--set", setting))]
    output = installed("search", "digits", "--name", "tiny", "--trials", "2", "--max-epochs", "1", *options)
    assert "front:" in output
    run = tmp_path / "runs" / "tiny"
    page = (run / "report" / "index.html").read_text()
    assert "t0001" in page
    assert "t0002" in page
    assert {path.name for path in (run / "trials").iterdir()} == {"t0001", "t0002"}
