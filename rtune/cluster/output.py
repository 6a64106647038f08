"""Sends the output of Ray and other libraries to a file instead of the screen."""

import os
import sys
import tempfile
from pathlib import Path
from typing import IO

from rich.console import Console

from rtune.console import Stream, make_console


class OutputRedirect:
    """Context in which standard output and standard error go to a file.

    Ray prints from Python, from C++ and from child processes; only redirected file descriptors catch all.
    What cannot be written, on a full disk or to a terminal that is gone, is dropped: the search goes on.

    Attributes:
        console: still writes to the screen.
    """

    console: Console

    def __enter__(self) -> "OutputRedirect":
        sys.stdout.flush()
        sys.stderr.flush()
        self._saved = os.dup(1), os.dup(2)
        self._screen = os.dup(1)
        self.console = make_console(Stream(self._screen, sys.stdout.encoding, drops=True))
        self._temporary = tempfile.TemporaryFile()
        self._redirect(self._temporary)
        self._streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = Stream(1, drops=True), Stream(2, drops=True)
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
        self.console.file.flush()
        os.close(self._screen)

    def _redirect(self, file: IO[bytes]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
