"""A search begins on a cluster with no room for a trial, and goes on when a node comes, as on Kubernetes."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.cluster
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block"]
SMALL = ["--trials", "2", "--max-epochs", "2", "--set", "model.width=1", "--set", "model.network=resnet"]
# What the operator sets in every pod.
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef"}
Start = Callable[..., str]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Start]:
    """Starts a node with so many CPUs, the head first; its address."""
    nodes: list[subprocess.Popen[bytes]] = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"

    def start(cpus: int) -> str:
        role = ["--address", address]
        if not nodes:
            role = [
                "--head",
                "--port",
                str(port),
                "--include-dashboard",
                "false",
                "--node-ip-address",
                "127.0.0.1",
            ]
        options = ["--num-cpus", str(cpus), "--num-gpus", "0", "--object-store-memory", "100000000"]
        options += ["--dashboard-agent-listen-port", "0"]
        with (tmp_path / f"node-{len(nodes)}.log").open("wb") as log:
            started = subprocess.Popen(
                [*RAY, *role, *options], env={**os.environ, **TOKEN}, stdout=log, stderr=log, cwd=tmp_path
            )
        nodes.append(started)
        return address

    yield start
    for started in reversed(nodes):
        started.terminate()
    for started in nodes:
        started.wait(timeout=30)


def search(address: str, folder: Path, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "rtune", "search", "digits", "--name", "run", "--address", address, *SMALL],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **TOKEN, "PYTHONPATH": str(ROOT), **environment},
    )


def until(true: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.2)
    return true()


def test_a_node_that_comes_later_gets_the_trials(node: Start, tmp_path: Path) -> None:
    address = node(cpus=0)

    def is_refused() -> bool:
        refused = search(address, tmp_path)
        said, _ = refused.communicate(timeout=90)
        assert refused.returncode == 2, said
        return "a trial needs 1 CPU and 0 GPU, but the machine has 0 CPU" in said

    assert until(is_refused, 120)  # for other reasons while the head is not up
    assert not (tmp_path / "runs").exists()

    begun = search(address, tmp_path, RTUNE_CLUSTER_GROWS="1")
    try:
        results = tmp_path / "runs" / "run" / "results"
        assert until(lambda: results.exists() or begun.poll() is not None, 60)
        time.sleep(3)
        assert begun.poll() is None, begun.communicate()[0]
        node(cpus=2)
        said, _ = begun.communicate(timeout=150)
    finally:
        begun.kill()
    assert begun.returncode == 0, said
    assert "front:" in said
