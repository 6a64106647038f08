"""clusters/local.yaml as its user has it: `ray up` from a laptop, jobs through the tunnel, `ray down`.

Four hosts (tests/support/cluster/hosts.py): a laptop, a head and two workers with sshd. Only what cannot be
had here is replaced: the machines' Python environment is this one, so their set-up finds it done.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from tests.support.cluster import hosts
from tests.support.cluster.hosts import Host, trains
from tests.support.cluster.searches import TINY, check_whole, logged
from tests.support.paths import ROOT
from tests.support.waiting import wait_for

lacking = hosts.missing() or next(
    (f"{t} is not installed" for t in ("sshd", "rsync") if not shutil.which(t)), None
)
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(lacking is not None, reason=f"no hosts on this machine: {lacking}"),
]
TUNNEL = "http://localhost:8265"


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Host]]:
    """A laptop, and three machines that take its key."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with hosts.network(tmp_path / "hosts", 4) as found:
        laptop, *others = found
        for host in others:
            _take_key(host, key)
        laptop.environment |= {"PYTHONPATH": "", "RAY_AUTH_MODE": "token"}
        (laptop.home / ".ray").mkdir()
        (laptop.home / ".ray" / "auth_token").write_text("c" * 64)
        yield found


def _take_key(host: Host, key: Path) -> None:
    folder = host.home / ".ssh"
    folder.mkdir(mode=0o700)
    shutil.copy(key.with_suffix(".pub"), folder / "authorized_keys")
    begin = [
        "mkdir -p /run/sshd",
        "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key",
        "printf 'PermitRootLogin yes\\nUsePAM no\\nStrictModes no\\n' > /etc/ssh/sshd_config",
        "$(command -v sshd) -f /etc/ssh/sshd_config -E /run/sshd.log",
    ]
    host.run("sh", "-ec", "\n".join(begin))
    (host.home / "venv").mkdir()
    (host.home / "venv" / "bin").symlink_to(Path(sys.executable).parent)
    shutil.copy(ROOT / "constraints.txt", host.home / "venv" / "installed")


def filled_in(folder: Path, head: Host, workers: list[Host]) -> Path:
    """The file as a user leaves it."""
    tree = yaml.safe_load((ROOT / "clusters" / "local.yaml").read_text())
    tree["provider"] |= {"head_ip": head.ip, "worker_ips": [worker.ip for worker in workers]}
    tree["auth"] = {"ssh_user": "root", "ssh_private_key": str(folder / "key")}
    file = folder / "local.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def test_ray_up_search_job_and_ray_down(machines: list[Host], tmp_path: Path) -> None:
    laptop, head, *workers = machines
    file = str(filled_in(tmp_path, head, workers))
    ray = hosts.ray_bin()
    laptop.run(ray, "up", "--yes", file, cwd=ROOT, timeout=200)
    wait_for(lambda: all("raylet" in worker.names() for worker in workers), 150)

    # Nobody reaches the dashboard but through the tunnel, and nobody a job without the token.
    reach = f"import socket; socket.create_connection(('{head.ip}', 8265), 2)"
    assert "refused" in laptop.run(sys.executable, "-c", reach, check=False).stdout
    tunnel = laptop.start(ray, "dashboard", file, output=subprocess.DEVNULL)
    jobs = [ray, "job", "list", "--address", TUNNEL]
    wait_for(lambda: laptop.run(*jobs, check=False).returncode == 0, 60)
    assert laptop.run(*jobs, check=False, RAY_AUTH_MODE="disabled").returncode != 0

    # Cut off by its user, a job goes on; stopped, it ends in order.
    run = tmp_path / "runs" / "run"
    places = ["--name", "run", "--runs", str(run.parent)]
    sizes = [
        "--trials",
        "4",
        "--max-epochs",
        "20",
        "--set",
        "search.early_stopping=null",
        "--concurrency",
        "3",
    ]
    send = [ray, "job", "submit", "--address", TUNNEL, "--working-dir", "."]
    submit = [*send, "--submission-id", "first", "--", "rtune", "search", "digits", *places, *sizes, *TINY]
    client = laptop.start(*submit, cwd=ROOT)
    wait_for(logged(run, 2), 120)
    wait_for(lambda: sum(trains(host) for host in (head, *workers)) >= 2)
    os.killpg(client.pid, signal.SIGINT)  # as a terminal does
    client.wait(timeout=30)
    known = len(RunFolder(run).read().records)
    wait_for(lambda: len(RunFolder(run).read().records) > known, 60)
    laptop.run(ray, "job", "stop", "--address", TUNNEL, "first")
    logs = laptop.run(ray, "job", "logs", "--address", TUNNEL, "first").stdout
    assert "ended early (interrupted); every finished epoch is saved. Go on with: rtune resume" in logs

    done = laptop.run(*send, "--", "rtune", "resume", str(run), cwd=ROOT, timeout=200)
    assert "front: " in done.stdout
    assert "succeeded" in done.stdout
    check_whole(run, 20)
    trials = fold(RunFolder(run).read().records).trials
    assert [trial.status for trial in trials.values()] == ["finished"] * 4

    tunnel.kill()
    laptop.run(ray, "down", "--yes", file, cwd=ROOT)
    quiet = {"bash", "sleep", "sshd"}
    wait_for(lambda: all(set(host.names()) <= quiet for host in (head, *workers)), 180)
