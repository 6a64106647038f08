"""Where a person reads what rtune prints."""

import io
from typing import IO

from rich.console import Console

# Where no terminal says how wide it is, tables are not squeezed into 80 columns.
_PLAIN_WIDTH = 160


def make_console(file: IO[str]) -> Console:
    """A console on a stream, wide where the stream is no terminal; what it prints is text, not markup.

    A character that the stream's encoding lacks becomes a question mark.
    """
    if isinstance(file, io.TextIOWrapper):
        file.reconfigure(errors="replace")
    width = None if file.isatty() else _PLAIN_WIDTH
    return Console(file=file, highlight=False, markup=False, emoji=False, width=width)
