"""Shared by tests: one thread, as trials have, the command line, a trained run, an S3 server, a disk."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

# Without a GPU Triton's kernels run in its interpreter; it asks for this when it is first imported.
if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"

import pytest
import torch

from rtune.storage.places import Place, place
from tests.support.command import Rtune
from tests.support.paths import ROOT
from tests.support.run_folders import small_run
from tests.support.services import s3

torch.set_num_threads(1)
TESTS = Path(__file__).resolve().parent


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, tests that start a cluster take turns, and a file's tests share its fixtures."""
    for item in items:
        # The fixture `finished` is a search of its own.
        on_cluster = item.get_closest_marker("cluster") or "finished" in getattr(item, "fixturenames", ())
        file = item.path.relative_to(TESTS).as_posix()
        item.add_marker(pytest.mark.xdist_group("cluster" if on_cluster else file))
    # The longest group first, or one worker does it while the other has nothing left.
    items.sort(key=lambda item: item.get_closest_marker("xdist_group").args[0] != "cluster")


@pytest.fixture
def rtune(tmp_path: Path) -> Rtune:
    """Runs `rtune ARGS` in an empty folder, as a user does."""

    def run(*args: str, timeout: float = 240) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "rtune", *args],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    return run


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run.make(tmp_path_factory.mktemp("runs")).place.local


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run with an ordinary network t0001 and a noisy one t0002, all one's own."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def store() -> Iterator[s3.Server]:
    with s3.serve() as server:
        yield server


@pytest.fixture
def remote(store: s3.Server) -> Place:
    """A folder in the store that no other test has."""
    return place(store.uri(f"bucket/{uuid.uuid4().hex}"))
