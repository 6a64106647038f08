"""Searches on several machines: a head and its workers, each a host of its own with a raylet of its own.

The hosts are namespaces of this machine (tests/support/cluster/hosts.py). GPUs, where a test has any, are
pretended.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from rtune.run.folder import RunFolder
from rtune.run.ledger import fold
from tests.support.cluster import hosts
from tests.support.cluster.hosts import Host, trains
from tests.support.cluster.searches import TINY, check_whole, logged
from tests.support.image_files import write_idx
from tests.support.paths import ROOT
from tests.support.waiting import wait_for

lacking = hosts.missing()
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(lacking is not None, reason=f"no hosts on this machine: {lacking}"),
]
HEAD = ["--num-cpus=0", "--include-dashboard=false"]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Host]]:
    """A head without room for trials, one worker with one core, and three machines outside the cluster."""
    with hosts.network(tmp_path / "hosts", 5) as found:
        head, worker, *_ = found
        for host in found:  # what workers see is what their raylet was started with
            host.environment["TRACE"] = str(tmp_path / f"trace-{host.ip}")
        hosts.start_ray(head, head, *HEAD)
        hosts.start_ray(worker, head, "--num-cpus=1")
        yield found


def search(
    host: Host, folder: Path, *args: str, module: str = "rtune", **environment: str
) -> "subprocess.Popen[str]":
    """A search on the cluster of the host; the run is `folder`/runs/run."""
    where = ["--address", "auto", "--name", "run", "--runs", str(folder / "runs")]
    words = [sys.executable, "-m", module, "search", "digits", *where, *TINY, *args]
    return host.start(*words, cwd=folder, **environment)


def in_the_middle_of_a_trial(worker: Host) -> bool:
    """Of eight epochs; those before its last have been reported."""
    what, _, epoch = Path(worker.environment["TRACE"]).read_text().splitlines()[-1].split()
    return what == "begin" and 4 <= int(epoch) <= 7


def refused(head: Host, folder: Path, *args: str, **environment: str) -> str:
    """The one sentence with which a search is refused."""
    output, _ = (process := search(head, folder, *args, **environment)).communicate(timeout=60)
    assert process.returncode == 2, output
    (line,) = output.splitlines()
    assert not (folder / "runs" / "run").exists()
    return line


@pytest.mark.long
def test_new_machines_get_trials_and_trials_of_a_lost_machine_continue_elsewhere(
    machines: list[Host], tmp_path: Path
) -> None:
    head, worker, late, other, bare = machines
    sizes = ["--trials", "8", "--max-epochs", "8", "--set", "search.early_stopping=null"]
    process = search(head, tmp_path, *sizes, module="tests.support.cluster.traced")
    run = tmp_path / "runs" / "run"
    wait_for(logged(run, 1))
    assert trains(worker)
    assert not trains(head)
    # One that has all it needs joins, one with other sources of rtune, and one that lacks a module, to which
    # trials come before it has answered what it has.
    for host, folders in ((other, ["rtune", "tests"]), (bare, ["rtune"])):
        host.environment["PYTHONPATH"] = str(tmp_path / host.ip / "code")
        for folder in folders:
            shutil.copytree(ROOT / folder, tmp_path / host.ip / "code" / folder)
        with (tmp_path / host.ip / "code" / "rtune" / "worker" / "machine.py").open("a") as file:
            file.write("\nimport time\n\ntime.sleep(15)\n" if host is bare else "\n# changed\n")
    for host, cores in ((late, 1), (bare, 2), (other, 2)):
        hosts.start_ray(host, head, f"--num-cpus={cores}")
    wait_for(lambda: trains(late) and not trains(bare) and not trains(other))
    wait_for(lambda: in_the_middle_of_a_trial(worker))
    worker.kill()
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert f"machine {late.ip} (host3) has joined" in output
    assert f"machine {other.ip} (host4) is left out: it has rtune's code " in output
    why = "it cannot run rtune: ModuleNotFoundError: No module named 'tests'"
    assert f"machine {bare.ip} (host5) is left out: {why}" in output
    assert output.count("is left out") == 2
    assert "the worker failed; the trial is retried: the actor" in output.lower()
    assert check_whole(run, 8)["status"].tolist() == ["finished"] * 64
    trials = fold(RunFolder(run).read().records).trials
    (moved,) = [t for t in trials.values() if any(r["epoch"] > 1 for r in t.retries)]
    # From its checkpoint: what was saved before the machine died was not trained again.
    traces = [Path(host.environment["TRACE"]).read_text() for host in (worker, late)]
    begun = [line.split() for line in "".join(traces).splitlines()]
    epochs = [int(epoch) for what, trial, epoch in begun if (what, trial) == ("begin", moved.id)]
    assert sorted(set(epochs)) == list(range(1, 9))
    assert len(epochs) <= 9


ASK = """
import sys
from rtune.cluster import connection
from rtune.cluster.start import preflight
from rtune.errors import ResourceError
for address in sys.argv[1:]:
    try:
        preflight.check(address)
        with connection.connect(address):
            print("connected")
    except ResourceError as error:
        print(error)
"""


def ask(host: Host, *addresses: str, **environment: str) -> list[str]:
    """What a person reads who names these addresses on a host; `connected` where all is well."""
    return host.run(sys.executable, "-c", ASK, *addresses, **environment).stdout.splitlines()


@pytest.mark.long
def test_unusable_cluster_is_refused_with_advice(machines: list[Host], tmp_path: Path) -> None:
    head, worker, outside, guarded, _ = machines
    here = f"{head.ip}:{hosts.PORT}"
    web = outside.start(sys.executable, "-m", "http.server", "8080")
    found = ask(
        outside, here, "10.77.0.1:6399", "10.77.0.3:8080", "ray://10.77.0.1:10001", "auto", "nonsense"
    )
    assert [line.split(": ")[0].split(", which")[0] for line in found] == [
        f"this machine is not one of the Ray cluster at {here}",
        "no Ray cluster can be used at 10.77.0.1:6399",
        "no Ray cluster can be used at 10.77.0.3:8080",
        "ray://10.77.0.1:10001 is for Ray Client",
        "no Ray cluster can be used at auto",
        "--address (or RAY_ADDRESS) is 'nonsense'; it must be auto, or such as 10.0.0.1:6379",
    ]
    web.kill()
    assert "'ray start --address=10.77.0.1:6379'" in found[0]
    assert ask(worker, "auto", here) == ["connected"] * 2

    # A cluster with a token, and this machine with none, another, and the right one.
    for name in ("token", "other"):
        (tmp_path / name).write_text(name[0] * 64)
    on = {"RAY_AUTH_MODE": "token"}
    guarded.environment |= on | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    hosts.start_ray(guarded, guarded, *HEAD)
    there = f"{guarded.ip}:{hosts.PORT}"
    for path in (tmp_path / "none", tmp_path / "other"):
        (line,) = ask(guarded, there, RAY_AUTH_TOKEN_PATH=str(path))
        assert line.startswith(
            f"the Ray cluster at {there} does not accept this machine's token: put that of its"
        )
    assert ask(guarded, there) == ["connected"]
    pretend = f"""
import ray, json
ray.init("{there}")
old = json.dumps({{"ray_version": "2.40.0", "python_version": "3.11.7"}}).encode()
ray._private.worker.global_worker.gcs_client.internal_kv_put(b"CLUSTER_METADATA", old, True, b"cluster")
"""
    guarded.run(sys.executable, "-c", pretend)
    (line,) = ask(guarded, there)
    assert "Version mismatch: The cluster was started with: Ray: 2.40.0" in line
    assert line.endswith("; install the same versions on both")


def test_unfit_machines_are_named_before_anything_is_written(machines: list[Host], tmp_path: Path) -> None:
    head, worker, *_ = machines
    line = refused(head, tmp_path, "--gpus-per-trial", "1")
    assert "a trial needs 1 CPU and 1 GPU, but the nodes have 1 CPU and 0 GPU, 0 CPU and 0 GPU; lower" in line
    runs = tmp_path / "runs"
    runs.mkdir()
    worker.run("mount", "-t", "tmpfs", "none", str(runs))
    line = refused(head, tmp_path)
    assert f"no trial can run on machine {worker.ip} (host2): it has another {runs} than this machine" in line
    worker.run("sh", "-c", f"umount {runs}; mount --bind {runs} {runs}; mount -o remount,ro,bind {runs}")
    line = refused(head, tmp_path)
    assert "(host2): it cannot use the storage of the run: " in line
    assert "Read-only file system" in line
    assert list(runs.iterdir()) == []


@pytest.mark.long
def test_machine_with_a_failing_disk_is_left_out_and_no_trial_fails(tmp_path: Path) -> None:
    with hosts.network(tmp_path / "hosts", 3) as (head, well, ill):
        broken = {f"t000{n}": {"how": "storage", "epoch": 2, "times": 99} for n in range(1, 5)}
        for host in (well, ill):
            host.environment |= {"TRACE": str(tmp_path / host.ip)}
        ill.environment["FAULTS"] = json.dumps(broken)
        hosts.start_ray(head, head, *HEAD)
        hosts.start_ray(well, head, "--num-cpus=1")
        hosts.start_ray(ill, head, "--num-cpus=3")
        sizes = ["--trials", "4", "--max-epochs", "16", "--set", "search.early_stopping=null"]
        tried = ["--set", "search.max_failures=0"]
        process = search(head, tmp_path, *sizes, *tried, module="tests.support.cluster.traced")
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output
        assert f"machine {ill.ip} (host3) is left out: the disk is on fire (worker on host3)" in output
        assert output.count("is left out") == 1
        check_whole(tmp_path / "runs" / "run", 16)
        # Three begin there together; once it is known what comes too early is sent away.
        assert (tmp_path / ill.ip).read_text().count("begin") <= 12

        more = ["resume", str(tmp_path / "runs" / "run"), "--address", "auto", "--trials", "6"]
        well.run("mount", "-t", "tmpfs", "none", str(tmp_path / "runs"))
        ill.run("mount", "-t", "tmpfs", "none", str(tmp_path / "runs"))
        done = head.run(sys.executable, "-m", "rtune", *more, cwd=tmp_path, check=False)
        assert done.returncode == 2
        assert "no trial can run on machine " in done.stdout
        assert " (and 1 more that cannot): it has another " in done.stdout
        assert len(done.stdout.splitlines()) == 1


@pytest.mark.long
@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
def test_search_reports_a_dead_head_and_tells_how_to_continue(tmp_path: Path, victim: str) -> None:
    with hosts.network(tmp_path / "hosts", 1) as (head,):
        hosts.start_ray(head, head, "--num-cpus=1", "--include-dashboard=false")
        process = search(head, tmp_path, "--trials", "2", "--max-epochs", "30")
        wait_for(logged(tmp_path / "runs" / "run", 2))
        (found,) = [p for p in head.processes() if p.name() == victim]
        found.kill()
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 1
        last = output.splitlines()[-1]
        assert last.startswith("rtune: the launch broke off: Ray has died on this machine; every finished")
        assert last.endswith(f"rtune resume {tmp_path / 'runs' / 'run'} --address auto")


GROWING = {
    "cluster_name": "growing",
    "max_workers": 2,
    "provider": {
        "type": "fake_multinode",
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0},
        "small": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
    "head_node_type": "ray.head.default",
    "idle_timeout_minutes": 5,
    "upscaling_speed": 1.0,
    "auth": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    **{f"{what}_commands": [] for what in ("initialization", "setup", "head_setup", "worker_setup")},
    **{f"{what}_start_ray_commands": [] for what in ("head", "worker")},
}


@pytest.mark.long
def test_waiting_trials_start_machines(tmp_path: Path) -> None:
    """Ray's own autoscaler, whose machines are raylets of the same host."""
    with hosts.network(tmp_path / "hosts", 1) as (head,):
        hurry = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
        head.environment |= {"RAY_enable_autoscaler_v2": "0", **hurry}
        file = tmp_path / "growing.yaml"
        file.write_text(yaml.safe_dump(GROWING))
        hosts.start_ray(head, head, *HEAD, f"--autoscaling-config={file}")
        line = refused(head, tmp_path, "--gpus-per-trial", "0.5")
        assert "needs 1 CPU and 0.5 GPU, but the nodes have 1 CPU and 0 GPU, 0 CPU and 0 GPU" in line
        sizes = ["--trials", "3", "--max-epochs", "4", "--set", "search.early_stopping=null"]
        output, _ = (process := search(head, tmp_path, *sizes)).communicate(timeout=200)
        assert process.returncode == 0, output
        assert "3 trials on digits, 2 at once" in output
        assert "no machine has room for a trial yet; waiting for one to join" in output
        assert output.count(" has joined") == 2
        check_whole(tmp_path / "runs" / "run", 4)


@pytest.mark.parametrize("share", [pytest.param(0.5, id="two-on-a-gpu"), pytest.param(1, id="whole-gpus")])
@pytest.mark.long
def test_simulated_gpus_are_shared_as_requested(tmp_path: Path, share: float) -> None:
    """No GPU is at hand: Ray is told of two, and trials train on the CPU instead.

    The images are on the head's disk alone.
    """
    folder = tmp_path / "images"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (200, 28, 28), dtype=np.uint8)
    write_idx(folder / "train-images-idx3-ubyte.gz", images)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.arange(200, dtype=np.uint8) % 10)
    with hosts.network(tmp_path / "hosts", 2) as (head, worker):
        worker.environment |= {"TRACE": str(tmp_path / "trace"), "DEVICE": "cpu"}
        hosts.start_ray(head, head, *HEAD)
        hosts.start_ray(worker, head, "--num-cpus=8", "--num-gpus=2")
        worker.run("mount", "-t", "tmpfs", "none", str(folder))
        images_there = ["--set", "data.dataset=fashion-mnist", "--set", f"data.folder={folder}"]
        sizes = ["--trials", "5", "--max-epochs", "16", "--set", "search.early_stopping=null"]
        process = search(
            head,
            tmp_path,
            *sizes,
            *images_there,
            "--gpus-per-trial",
            str(share),
            module="tests.support.cluster.traced",
        )
        most = shared = 0
        while process.poll() is None:
            names = worker.names()
            most = max(most, sum(name.startswith("ray::Implicit") for name in names))
            shared = max(shared, sum(name.startswith("ray::_Actor") for name in names))
            time.sleep(0.1)
        output = process.communicate()[0]
        assert process.returncode == 0, output
        check_whole(tmp_path / "runs" / "run", 16)
        lines = [line.split() for line in (tmp_path / "trace").read_text().splitlines()]
        assert {card for what, _, card, *_ in lines if what == "gpu"} == {"0", "1"}
        assert {own for what, *_, own in lines if what == "gpu"} == {"False"}
        assert most == 2 / share
        assert shared == (2 if share < 1 else 0)
        wait_for(lambda: not any(name.startswith("ray::_Actor") for name in worker.names()))
