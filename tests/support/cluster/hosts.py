"""Hosts of a network of their own on this machine: Linux namespaces, joined by a virtual switch.

Each host has an address, processes, a home folder and Ray sessions that no other host sees, and all share
this machine's disk. Nothing outlives the context: the kernel takes down what is in a namespace with it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.paths import ROOT
from tests.support.waiting import wait_for

NETWORK = "10.77.0"
PORT = 6379
# Folders that each host has for itself.
_OWN = ("/tmp/ray", "/run", "/etc/ssh")
_NAMESPACES = ["--net", "--pid", "--mount", "--uts"]


def missing() -> str | None:
    """What this machine lacks for it; None if nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "namespaces need Linux and root"
    absent = [tool for tool in ("ip", "unshare", "nsenter", "mount") if shutil.which(tool) is None]
    return f"{', '.join(absent)} cannot be found" if absent else None


@dataclass
class Host:
    """One machine.

    Attributes:
        ip: its address.
        home: of its user, root.
        environment: of all that runs there.
    """

    ip: str
    home: Path
    process: "subprocess.Popen[bytes]"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """Of its first process, as this machine sees it."""
        (child,) = psutil.Process(self.process.pid).children()
        return int(child.pid)

    def command(self, *words: str, cwd: Path | None = None) -> list[str]:
        # Whoever enters is in the root folder there.
        inside = ["env", f"--chdir={cwd or self.home}", *words]
        return ["nsenter", "--target", str(self.pid), *_NAMESPACES, "--", *inside]

    def start(
        self, *words: str, cwd: Path | None = None, output: int = subprocess.PIPE, **environment: str
    ) -> "subprocess.Popen[str]":
        """A process there, both its outputs in one."""
        return subprocess.Popen(
            self.command(*words, cwd=cwd),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**_plain_environment(), "HOME": str(self.home), **self.environment, **environment},
            start_new_session=True,
        )

    def run(
        self, *words: str, cwd: Path | None = None, timeout: float = 120, check: bool = True, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        """A command there, to its end; both its outputs in `stdout`."""
        process = self.start(*words, cwd=cwd, **env)
        try:
            output, _ = process.communicate(timeout=timeout)
        finally:
            process.kill()
        done = subprocess.CompletedProcess(words, process.returncode, output)
        assert not check or done.returncode == 0, f"{words}: {output}"
        return done

    def kill(self) -> None:
        """Power off: every process there, at once."""
        if self.process.poll() is None:
            with contextlib.suppress(ValueError, ProcessLookupError, psutil.NoSuchProcess):
                os.kill(self.pid, signal.SIGKILL)
        self.process.wait()

    def unplug(self) -> None:
        """Takes its network cable out: no word of it any more, not even that it has gone."""
        self.run("ip", "link", "set", "eth0", "down")

    def processes(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def names(self) -> list[str]:
        """Names of its processes."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(process.name())
        return found


@contextlib.contextmanager
def network(folder: Path, count: int) -> Iterator[list[Host]]:
    """Hosts 10.77.0.1, 10.77.0.2, ... whose homes lie in the folder."""
    switch = _unshare("--net")
    hosts: list[Host] = []
    try:
        inside = ["nsenter", "--target", str(_child(switch)), "--net", "--"]
        _run(*inside, "ip", "link", "add", "switch", "type", "bridge")
        _run(*inside, "ip", "link", "set", "switch", "up")
        for number in range(1, count + 1):
            hosts.append(_host(folder / f"host{number}", number, inside))
        yield hosts
    finally:
        for host in hosts:
            host.kill()
        switch.kill()
        switch.wait()


def ray_bin(name: str = "ray") -> str:
    """A program of this interpreter's environment."""
    return str(Path(sys.executable).parent / name)


def start_ray(host: Host, head: Host, *options: str) -> None:
    """Starts Ray on a host: the cluster's head, or a node that joins it."""
    where = ["--head", f"--port={PORT}"] if host is head else [f"--address={head.ip}:{PORT}"]
    own = [f"--node-ip-address={host.ip}", "--disable-usage-stats"]
    memory = "--object-store-memory=100000000"
    host.run(ray_bin(), "start", *where, *own, memory, *options)


def _host(home: Path, number: int, switch: list[str]) -> Host:
    home.mkdir(parents=True)
    if Path("/etc/skel").exists():
        shutil.copytree("/etc/skel", home, dirs_exist_ok=True)
    ip = f"{NETWORK}.{number}"
    # A shell that waits buries the dead, as a machine's first process must.
    process = _unshare(*_NAMESPACES, "--mount-proc", first="sleep infinity & wait")
    host = Host(ip, home, process)
    _run(*switch, "ip", "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns",
         str(host.pid))  # fmt: skip
    _run(*switch, "ip", "link", "set", f"port{number}", "master", "switch", "up")
    passwd = home / "passwd"
    lines = Path("/etc/passwd").read_text().splitlines()
    root = f"root:x:0:0:root:{home}:/bin/bash"
    passwd.write_text("\n".join([root, *(line for line in lines if not line.startswith("root:"))]) + "\n")
    names = home / "hosts"
    names.write_text(f"127.0.0.1 localhost\n{ip} host{number}\n")
    for own in _OWN:
        Path(own).mkdir(parents=True, exist_ok=True)
    set_up = [
        f"hostname host{number}",
        "ip link set lo up",
        f"ip addr add {ip}/24 dev eth0",
        "ip link set eth0 up",
        f"mount --bind {passwd} /etc/passwd",
        f"mount --bind {names} /etc/hosts",
        *(f"mount -t tmpfs none {own}" for own in _OWN),
    ]
    host.run("sh", "-ec", "\n".join(set_up))
    return host


def _unshare(*namespaces: str, first: str = "exec sleep infinity") -> "subprocess.Popen[bytes]":
    # --kill-child: whatever ends it ends all that runs there.
    process = subprocess.Popen(
        ["unshare", *namespaces, "--kill-child", "--fork", "bash", "-c", first],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: any(c.name() in ("bash", "sleep") for c in psutil.Process(process.pid).children()), 10)
    return process


def _child(process: "subprocess.Popen[bytes]") -> int:
    (child,) = psutil.Process(process.pid).children()
    return int(child.pid)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"


def _plain_environment() -> dict[str, str]:
    """This process's, without what would lead Ray to another cluster; this checkout's rtune first."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return {**kept, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}


def trains(host: Host) -> bool:
    return any(name.startswith("ray::ImplicitFu") for name in host.names())
