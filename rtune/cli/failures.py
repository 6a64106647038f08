"""Converts errors that the user can act on into one sentence and an exit code."""

import sys
from typing import Any

import click

from rtune.console import complain
from rtune.errors import RtuneError, RunFailure, UsageError
from rtune.storage import paths


class UsageFailure(click.ClickException):
    """Wrong input: prints one sentence on standard error; exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        complain(self.message)


class failures:  # noqa: N801 - reads as a word in `with failures():`
    """Context manager that converts errors of rtune into one sentence on standard error and an exit code.

    The exit code is 2 for wrong input (`UsageError`) and 1 for a run that failed (`RunFailure`), any other
    `RtuneError`, and an error of the operating system. Other exceptions pass through unchanged.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, UsageError) and not isinstance(error, RunFailure):
            raise UsageFailure(str(error)) from None
        if isinstance(error, RtuneError):
            complain(str(error))
            sys.exit(1)
        if isinstance(error, OSError):
            complain(paths.sentence(error))
            sys.exit(1)
