"""Standard output and standard error: what is printed, and what happens when it cannot be."""

import contextlib
import io
import os
import select
import sys
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# Width in columns if the output is not a terminal: tables need more than 80.
_PLAIN_WIDTH = 160


class OutputError(Exception):
    """Standard output cannot be written; `error` is why. No OSError, which is taken for a file's."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.error = error


class _Descriptor(io.FileIO):
    """A file descriptor for writing; what it does not take is dropped, or raises `OutputError`."""

    def __init__(self, descriptor: int, drops: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.drops = drops

    def write(self, data: Any) -> int:
        while True:
            try:
                written = super().write(data)
            except OSError as error:
                if self.drops:
                    return len(data)
                raise OutputError(error) from None
            if written is not None:
                return written
            if self.drops:
                return len(data)
            select.select([], [self.fileno()], [])  # a pipe or terminal that does not block is full


class Stream(io.TextIOWrapper):
    """Text to a file descriptor, which stays open; the characters that the encoding lacks become `?`."""

    def __init__(self, descriptor: int, encoding: str = "utf-8", drops: bool = False) -> None:
        self._descriptor = _Descriptor(descriptor, drops)
        buffer = io.BufferedWriter(self._descriptor)
        super().__init__(buffer, encoding=encoding, errors="replace", line_buffering=True)

    def drop(self) -> None:
        """From now on, text that cannot be written is dropped."""
        self._descriptor.drops = True


def open_standard_streams() -> None:
    """Makes standard output raise `OutputError` and standard error drop what cannot be written.

    For the start of a process. Descriptors that are closed are opened: else the next files would get their
    numbers, and with them what other code prints. Where `sys.stdout` has been replaced, as by a test, nothing
    is done.
    """
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        return
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # the lowest free number; writing to it fails
    sys.stdout = Stream(1, _encoding(sys.stdout))
    sys.stderr = Stream(2, _encoding(sys.stderr), drops=True)


def continue_without_output() -> None:
    """From now on, what standard output does not take is dropped, and does not change the exit code."""
    if isinstance(sys.stdout, Stream):
        sys.stdout.drop()


def flush_output() -> None:
    """Writes what is left of standard output. Raises OutputError."""
    if isinstance(sys.stdout, Stream):
        sys.stdout.flush()


def complain(text: str) -> None:
    """Prints `rtune: TEXT` in one line on standard error, if that can be written."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in f"rtune: {text}")
    with contextlib.suppress(OSError):
        print(shown, file=sys.stderr, flush=True)


def make_console(file: IO[str]) -> "Console":
    """A console that prints plain text, without markup, to a stream.

    It is 160 columns wide if the stream is not a terminal, whatever the environment says of colors.
    Characters that the stream's encoding lacks are printed as question marks.
    """
    from rich.console import Console

    if isinstance(file, io.TextIOWrapper):
        file.reconfigure(errors="replace")
    is_terminal = file.isatty()
    return Console(
        file=file,
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal=is_terminal,
        width=None if is_terminal else _PLAIN_WIDTH,
        _environ=_environment(),
    )


def _environment() -> Mapping[str, str]:
    """The environment for rich, which takes any digits for a size of the screen, 0 as well."""
    sizes = {"COLUMNS", "LINES"}
    return {name: value for name, value in os.environ.items() if name not in sizes or _is_size(value)}


def _is_size(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) < 5 and int(value) > 0


def _encoding(stream: TextIO | None) -> str:
    return "utf-8" if stream is None else stream.encoding
