"""Keeps the framework's words off the screen and in a file."""

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from rtune.console import make_console


class _Forgiving(io.FileIO):
    """What a full disk does not take is let go: no word of the framework's is worth the search."""

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            return super().write(data)
        return len(data)


class Diversion:
    """Context in which everything printed to standard output and error goes to a file.

    Ray prints from Python, from C++ and from child processes; only the file descriptors catch all.

    Attributes:
        console: still reaches the person.
    """

    console: Console

    def __enter__(self) -> "Diversion":
        sys.stdout.flush()
        sys.stderr.flush()
        self._kept = os.dup(1), os.dup(2)
        self._screen: IO[str] = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
        self.console = make_console(self._screen)
        self._first = tempfile.TemporaryFile()
        self._send(self._first)
        self._streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _stream(1), _stream(2)
        return self

    def into(self, path: Path) -> None:
        """From now on to the end of this file, what was caught so far before it."""
        with open(path, "ab") as log:
            self._first.seek(0)
            log.write(self._first.read())
            log.flush()
            self._send(log)

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = self._streams
        for kept, descriptor in zip(self._kept, (1, 2), strict=True):
            os.dup2(kept, descriptor)
            os.close(kept)
        self._first.close()
        self._screen.close()

    def _send(self, file: IO[bytes]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _stream(descriptor: int) -> IO[str]:
    raw = io.BufferedWriter(_Forgiving(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="replace", line_buffering=True)
