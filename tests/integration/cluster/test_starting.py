"""What keeps Ray from starting: it starts all the same, or one sentence says why and nothing is written."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster.searches import TINY, start
from tests.support.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.long]

OPTIONS = ["search", "digits", "--trials", "1", "--max-epochs", "1", "--concurrency", "1", *TINY]
OPTIONS += ["--set", "points=[]", "--set", "search.early_stopping=null"]
NOBODY = 65534


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder that all may enter, whose path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="rt-", dir="/tmp"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def run(folder: Path, *args: str, **environment: str) -> tuple[int, list[str]]:
    process = start(folder, *OPTIONS, *args, **environment)
    output, _ = process.communicate(timeout=150)
    assert "Traceback" not in output
    return process.returncode, output.splitlines()


def refused(folder: Path, *args: str, **environment: str) -> str:
    """The last line of a search that does not start; it writes nothing."""
    code, lines = run(folder, *args, **environment)
    assert code in (1, 2), lines
    assert not (folder / "runs").exists()
    assert lines[-1].startswith("rtune: ")
    return lines[-1]


def test_a_long_tmpdir_is_replaced(tmp_path: Path, short: Path) -> None:
    long = short / ("l" * (79 - len(str(short)) - 1))
    long.mkdir()
    code, lines = run(tmp_path, TMPDIR=str(long))
    assert code == 0, lines
    assert not (long / "ray").exists()


def as_nobody(folder: Path, shell: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A command of an ordinary user, who sees this Python and these sources below `folder`."""
    mounted = {"base": sys.base_prefix, "packages": sysconfig.get_path("purelib"), "code": str(ROOT)}
    for name in (*mounted, "work"):
        (folder / name).mkdir()
    (folder / "work").chmod(0o777)
    mounts = " && ".join(f"mount --bind {path} {folder}/{name}" for name, path in mounted.items())
    python = f"{folder}/base/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    user = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups bash -c {shlex.quote(shell)}"
    return subprocess.run(
        ["unshare", "--mount", "bash", "-c", f"{mounts} && cd {folder}/work && {user}"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{folder}/code:{folder}/packages",
            "LD_LIBRARY_PATH": f"{folder}/base/lib",  # of libpython
            "PYTHONDONTWRITEBYTECODE": "1",
            "SEARCH": " ".join([python, "-m", "rtune", *OPTIONS]),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=150,
    )


only_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="needs root and unshare",
)


@only_root
@pytest.mark.parametrize("home", ["/", "/nonexistent", "/dev/null", None])
def test_an_ordinary_user_needs_no_home(short: Path, home: str | None) -> None:
    done = as_nobody(short, "$SEARCH", **({} if home is None else {"HOME": home}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "report: " in done.stdout


@only_root
def test_an_ordinary_user_with_few_processes_is_told_at_once(short: Path) -> None:
    done = as_nobody(short, "ulimit -u 60; $SEARCH", HOME="/")
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("rtune: this user may have 60 processes and threads ('ulimit -u'), and has ")
    assert list((short / "work").iterdir()) == []


def test_a_setting_of_ray_that_it_cannot_read_is_named(tmp_path: Path) -> None:
    line = refused(tmp_path, RAY_memory_usage_threshold="nonsense", RAY_health_check_period_ms="1000")
    assert line.startswith("rtune: Ray cannot read RAY_memory_usage_threshold=nonsense in the environment; ")


def test_any_other_failure_of_ray_is_one_sentence(tmp_path: Path) -> None:
    line = refused(tmp_path, RAY_RUNTIME_ENV_HOOK="no_such_module.hook")
    assert line.startswith("rtune: Ray could not be started on this machine: No module named")
    assert "the environment sets RAY_RUNTIME_ENV_HOOK" in line
    assert line.endswith("; nothing has been written")


def test_an_address_from_the_environment_is_named(tmp_path: Path) -> None:
    line = refused(tmp_path, RAY_ADDRESS="127.0.0.1:1")
    assert line.startswith("rtune: no Ray cluster can be used at 127.0.0.1:1: ")
    assert line.endswith("from RAY_ADDRESS in the environment: unset it to use this machine alone")


def test_of_two_searches_of_one_name_the_second_is_refused_early(
    tmp_path: Path,
) -> None:
    first = start(tmp_path, *OPTIONS, "--name", "run")
    hidden = tmp_path / "runs" / ".run.new"
    while not hidden.exists() and first.poll() is None:
        pass
    second = start(tmp_path, *OPTIONS, "--name", "run")
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 2
    assert output.startswith("rtune: run name 'run' is taken: ")
    assert first.communicate(timeout=150)[0].count("report: ") == 1
    unnamed = [start(tmp_path, *OPTIONS) for _ in range(2)]
    for process in unnamed:
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output
    assert len([p for p in (tmp_path / "runs").iterdir() if p.name.startswith("digits-")]) == 2
