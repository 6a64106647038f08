"""Converts errors that the user can act on into one sentence and an exit code."""

import sys
from typing import Any

import click

from rtune.errors import RtuneError, RunFailure, UsageError


class UsageFailure(click.ClickException):
    """Wrong input: prints one sentence on standard error; exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"rtune: {self.message}", err=True)


class failures:  # noqa: N801 - reads as a word in `with failures():`
    """Context manager that converts errors of rtune into one sentence on standard error and an exit code.

    The exit code is 2 for wrong input (`UsageError`) and 1 for a run that failed (`RunFailure`) and any other
    `RtuneError`. Other exceptions pass through unchanged.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, UsageError) and not isinstance(error, RunFailure):
            raise UsageFailure(str(error)) from None
        if isinstance(error, RtuneError):
            click.echo(f"rtune: {error}", err=True)
            sys.exit(1)
        if isinstance(error, BrokenPipeError):
            # The program that read the output has ended (as in `rtune results RUN | head`): print nothing.
            sys.stderr.close()
            sys.exit(1)
