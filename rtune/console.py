"""The console for the output of commands."""

import io
from typing import IO

from rich.console import Console

# Width in columns if the output is not a terminal: tables need more than 80.
_PLAIN_WIDTH = 160


def make_console(file: IO[str]) -> Console:
    """A console that prints plain text, without markup, to a stream.

    It is 160 columns wide if the stream is not a terminal. Characters that the stream's encoding lacks are
    printed as question marks.
    """
    if isinstance(file, io.TextIOWrapper):
        file.reconfigure(errors="replace")
    width = None if file.isatty() else _PLAIN_WIDTH
    return Console(file=file, highlight=False, markup=False, emoji=False, width=width)
