"""Where a search runs while it is disturbed: a small disk, an S3 store, a cluster of several hosts."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from rtune.storage.places import Place, place
from tests.support.cluster import hosts, searches
from tests.support.cluster.hosts import Host
from tests.support.services import s3
from tests.support.waiting import wait_for

MODULE = "tests.support.cluster.traced"
# Of the small disk: a run of 12 trials takes 15 MB.
_SIZE = "64m"


class Scene:
    """A search at a time, and where it is.

    Attributes:
        name: of the scene.
        folder: where outputs and traces are, on this machine.
        cwd: where the next launch is started.
        runs: path or URI of the folder that holds the run.
        number: of the search.
    """

    name = ""

    def __init__(self, folder: Path, runs: str) -> None:
        self.folder = folder
        self.cwd = folder
        self.runs = runs
        self.number = 0
        self._home = runs
        self._moves = 0

    @property
    def run(self) -> Place:
        return place(self.runs) / "hit"

    def relative(self, where: str) -> str:
        """A path as somebody in `cwd` gives it; a URI as it is."""
        return where if "://" in where else os.path.relpath(where, self.cwd)

    @property
    def trace(self) -> Path:
        return self.folder / f"trace-{self.number}"

    def begin(self) -> None:
        """Makes room for a new search."""
        self.run.delete()
        self.runs = self._home
        self.cwd = self.folder
        self.number += 1

    def start(self, words: list[str], output: int) -> "subprocess.Popen[str]":
        """A launch by `rtune WORDS`; its workers write the trace."""
        return searches.start(
            self.cwd, *words, *self.options(), module=MODULE, output=output, TRACE=str(self.trace)
        )

    def options(self) -> list[str]:
        """Options of each launch."""
        return []

    def family(self, launch: "subprocess.Popen[str]") -> list[psutil.Process]:
        """The processes of a launch: the driver first, then what it has started."""
        with contextlib.suppress(psutil.Error):
            driver = psutil.Process(launch.pid)
            return [driver, *driver.children(recursive=True)]
        return []

    def workers(self, launch: "subprocess.Popen[str]") -> list[psutil.Process]:
        return [p for p in self.family(launch) if is_worker(p)]

    def move(self) -> None:
        """Copies the run to another path, from which the next launch continues it elsewhere."""
        self._moves += 1
        there = f"{self._home.rstrip('/')}/moved-{self._moves}"
        if "?" in self._home:  # a URI
            base, _, query = self._home.partition("?")
            there = f"{base}/moved-{self._moves}?{query}"
        old, self.runs = self.run, there
        for name in old.files():
            (self.run / name).write((old / name).read())
        old.delete()
        self.cwd = self.folder / f"cwd-{self._moves}"
        self.cwd.mkdir(exist_ok=True)


class Disk(Scene):
    """A small disk of its own, or a plain folder where mounting is not permitted.

    Attributes:
        disk: where the small disk is; None without one.
    """

    name = "disk"

    def __init__(self, folder: Path, mount: Path, mounted: bool) -> None:
        super().__init__(folder, str(mount / "runs"))
        self.disk = mount if mounted else None


class Store(Scene):
    """A store that can be made to fail."""

    name = "store"

    def __init__(self, folder: Path, server: s3.Server) -> None:
        super().__init__(folder, server.uri("bucket/runs"))
        self.server = server


class Cluster(Scene):
    """A head and two workers with one core each, each a host of its own; they share this machine's disk.

    Attributes:
        machines: the head first.
        front: where launches are started.
    """

    name = "cluster"

    def __init__(self, folder: Path, machines: list[Host]) -> None:
        runs = folder / "runs"
        super().__init__(folder, str(runs))
        self.machines = machines
        head, *others = machines
        self.front = head
        for host in machines:  # what workers see is what their raylet was started with
            host.environment["TRACE"] = str(folder / "trace")
        hosts.start_ray(head, head, "--num-cpus=0", "--include-dashboard=false")
        for host in others:
            hosts.start_ray(host, head, "--num-cpus=1")

    @property
    def trace(self) -> Path:
        return self.folder / "trace"

    def begin(self) -> None:
        super().begin()
        self.trace.unlink(missing_ok=True)

    def start(self, words: list[str], output: int) -> "subprocess.Popen[str]":
        return self.front.start(
            sys.executable, "-m", MODULE, *words, *self.options(), cwd=self.cwd, output=output
        )

    def options(self) -> list[str]:
        return ["--address", "auto"]

    def family(self, launch: "subprocess.Popen[str]") -> list[psutil.Process]:
        # The process that has entered the host is no part of it. Ray and the workers are the cluster's.
        return super().family(launch)[1:2]

    def workers(self, launch: "subprocess.Popen[str]") -> list[psutil.Process]:
        return [p for host in self.machines for p in host.processes() if is_worker(p)]

    def move(self) -> None:
        super().move()
        self.front = self.machines[(self.machines.index(self.front) + 1) % len(self.machines)]

    def restart(self, host: Host) -> None:
        """Starts Ray on a machine again, which joins the cluster."""
        host.run(hosts.ray_bin(), "stop", "--force", check=False)
        hosts.start_ray(host, self.machines[0], "--num-cpus=1")
        wait_for(lambda: "raylet" in host.names(), 30)


def is_worker(process: psutil.Process) -> bool:
    return _says(process, "ray::ImplicitFunc")


def is_raylet(process: psutil.Process) -> bool:
    try:
        return process.name() == "raylet"
    except psutil.Error:
        return False


def _says(process: psutil.Process, word: str) -> bool:
    try:
        return any(word in part for part in process.cmdline())
    except psutil.Error:
        return False


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[Disk]:
    mount = folder / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "none", str(mount)], capture_output=True, check=False
    )
    try:
        yield Disk(folder, mount, done.returncode == 0)
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", str(mount)], check=True)


@contextlib.contextmanager
def _store(folder: Path) -> Iterator[Store]:
    with s3.serve() as server:
        yield Store(folder, server)


@contextlib.contextmanager
def _cluster(folder: Path) -> Iterator[Cluster]:
    with hosts.network(folder / "hosts", 3) as machines:
        yield Cluster(folder, machines)


# Each takes an empty folder on this machine's disk. `hosts.missing` says where the cluster cannot be.
SCENES: dict[str, Callable[[Path], contextlib.AbstractContextManager[Scene]]] = {
    "disk": _disk,
    "store": _store,
    "cluster": _cluster,
}
