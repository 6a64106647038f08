"""Runs many commands of rtune in one process, which spares the imports, and as an ordinary user."""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import ROOT

_DROP_FROM_BOUNDING_SET = 24
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


class Ended(NamedTuple):
    """How a command ended: exit code, standard error, and an exception that it did not catch."""

    code: int
    stderr: str
    uncaught: str | None


def without_rights() -> None:
    """For `preexec_fn`: root may then enter and read no more than any other user by the modes of files."""
    if os.geteuid() == 0:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        for capability in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
            if prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "a capability cannot be dropped")


def run_many(lines: Sequence[Sequence[str]], cwd: Path, preamble: str = "") -> list[Ended]:
    """What each command line gives, run without the rights of root after the statements of `preamble`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{preamble}\nfrom tests.support.run_many import main\nmain()"],
        input=json.dumps(lines),
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        preexec_fn=without_rights,
    )
    assert done.returncode == 0, done.stderr
    return [Ended(*found) for found in json.loads(done.stdout)]


def main() -> None:
    """In the new process: command lines as JSON on standard input, how they ended on standard output."""
    from click.testing import CliRunner

    from rtune.cli.app import main as command

    found = []
    for line in json.load(sys.stdin):
        result = CliRunner().invoke(command, line)
        caught = result.exception is None or isinstance(result.exception, SystemExit)
        found.append((result.exit_code, result.stderr, None if caught else repr(result.exception)))
    json.dump(found, sys.stdout)
