"""Sends the output of Ray and other libraries to a file instead of the screen."""

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from rtune.console import make_console


class _IgnoringErrors(io.FileIO):
    """Drops output that cannot be written, as on a full disk: it must not end the search."""

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            return super().write(data)
        return len(data)


class OutputRedirect:
    """Context in which standard output and standard error go to a file.

    Ray prints from Python, from C++ and from child processes; only redirected file descriptors catch all.

    Attributes:
        console: still writes to the screen.
    """

    console: Console

    def __enter__(self) -> "OutputRedirect":
        sys.stdout.flush()
        sys.stderr.flush()
        self._saved = os.dup(1), os.dup(2)
        self._screen: IO[str] = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
        self.console = make_console(self._screen)
        self._temporary = tempfile.TemporaryFile()
        self._redirect(self._temporary)
        self._streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _stream(1), _stream(2)
        return self

    def redirect_to(self, path: Path) -> None:
        """Appends the output so far, and all later output, to this file. Raises OSError."""
        with open(path, "ab") as log:
            self._temporary.seek(0)
            log.write(self._temporary.read())
            log.flush()
            self._redirect(log)

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = self._streams
        for saved, descriptor in zip(self._saved, (1, 2), strict=True):
            os.dup2(saved, descriptor)
            os.close(saved)
        self._temporary.close()
        self._screen.close()

    def _redirect(self, file: IO[bytes]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _stream(descriptor: int) -> IO[str]:
    raw = io.BufferedWriter(_IgnoringErrors(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="replace", line_buffering=True)
