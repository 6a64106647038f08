"""What may go wrong for a person becomes one sentence and an exit code."""

import sys
from typing import Any

import click

from rtune.errors import RtuneError, RunFailure, UsageError


class UsageFailure(click.ClickException):
    """Bad input: one sentence, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"rtune: {self.message}", err=True)


class failures:  # noqa: N801 - reads as a word in `with failures():`
    """Turns what may go wrong for a person into one sentence and an exit code."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:

        if isinstance(error, UsageError) and not isinstance(error, RunFailure):
            raise UsageFailure(str(error)) from None
        if isinstance(error, RtuneError):
            click.echo(f"rtune: {error}", err=True)
            sys.exit(1)
        if isinstance(error, BrokenPipeError):
            # The reader of our output has gone; there is nobody left to tell.
            sys.stderr.close()
            sys.exit(1)
