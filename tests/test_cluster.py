"""Searches on several machines: a head and its workers, each a host of its own with a raylet of its own.

The hosts are namespaces of this machine (tests/hosts.py); GPUs, where a test has any, are pretended.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtune.ledger import fold
from rtune.runfolder import RunFolder
from tests import hosts
from tests.conftest import ROOT, wait_for
from tests.hosts import Host
from tests.searches import TINY, check_whole, logged

lacking = hosts.missing()
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(lacking is not None, reason=f"no hosts on this machine: {lacking}"),
]
HEAD = ["--num-cpus=0", "--include-dashboard=false"]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Host]]:
    """A head without room for trials, one worker with one core, and two machines outside the cluster."""
    with hosts.network(tmp_path / "hosts", 4) as found:
        head, worker, *_ = found
        for host in found:  # what workers see is what their raylet was started with
            host.environment["TRACE"] = str(tmp_path / "trace")
        hosts.start_ray(head, head, *HEAD)
        hosts.start_ray(worker, head, "--num-cpus=1")
        yield found


def search(
    host: Host, folder: Path, *args: str, module: str = "rtune", **environment: str
) -> "hosts.subprocess.Popen[str]":
    """A search on the cluster of the host; the run is `folder`/runs/run."""
    where = ["--address", "auto", "--name", "run", "--runs", str(folder / "runs")]
    words = [sys.executable, "-m", module, "search", "digits", *where, *TINY, *args]
    return host.start(*words, cwd=folder, **environment)


def trains(host: Host) -> bool:
    return any(name.startswith("ray::ImplicitFu") for name in host.names())


def refused(head: Host, folder: Path, *args: str, **environment: str) -> str:
    """The one sentence with which a search is refused."""
    output, _ = (process := search(head, folder, *args, **environment)).communicate(timeout=60)
    assert process.returncode == 2, output
    (line,) = output.splitlines()
    assert not (folder / "runs" / "run").exists()
    return line


def test_machines_that_come_get_trials_and_those_of_one_that_dies_go_on_elsewhere(
    machines: list[Host], tmp_path: Path
) -> None:
    head, worker, late, other = machines
    sizes = ["--trials", "3", "--max-epochs", "8", "--set", "search.early_stopping=null"]
    process = search(head, tmp_path, *sizes, module="tests.traced")
    run = tmp_path / "runs" / "run"
    wait_for(logged(run, 1))
    assert trains(worker)
    assert not trains(head)
    # One with other sources of rtune joins, and one that has all it needs.
    old = tmp_path / "old"
    shutil.copytree(ROOT / "rtune", old / "rtune")
    (old / "rtune" / "robust" / "attacks.py").open("a").write("\n# changed\n")
    other.environment["PYTHONPATH"] = str(old)
    for host in (other, late):
        hosts.start_ray(host, head, "--num-cpus=1")
    wait_for(lambda: trains(late))
    wait_for(logged(run, 5))
    worker.kill()
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert f"machine {late.ip} (host3) has joined" in output
    assert f"machine {other.ip} (host4) is left out: it has rtune's code " in output
    assert "broke and is tried again from its checkpoint: the actor" in output.lower()
    assert check_whole(run, 8)["status"].tolist() == ["finished"] * 24
    trials = fold(RunFolder(run).read().records).trials
    (moved,) = [t for t in trials.values() if any(r["epoch"] > 1 for r in t.retries)]
    # From its checkpoint: what was saved before the machine died was not trained again.
    begun = [line.split() for line in (tmp_path / "trace").read_text().splitlines()]
    epochs = [int(epoch) for what, trial, epoch in begun if (what, trial) == ("begin", moved.id)]
    assert sorted(set(epochs)) == list(range(1, 9))
    assert len(epochs) <= 9
