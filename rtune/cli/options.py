"""Options that several commands share, and the types of their values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rtune.cli.failures import UsageFailure, failures
from rtune.config.reading import texts
from rtune.errors import UsageError
from rtune.storage.home import expand

F = TypeVar("F", bound=Callable[..., Any])
RUNS = click.option(
    "--runs",
    default="runs",
    show_default=True,
    help="Folder that contains the runs: a path, or a URI such as s3://bucket/runs.",
)

WHICH_HELP = (
    "Trials: front (the Pareto front), best (highest robust accuracy), all, or a list such as t0001,t0002."
)
FORMATS_HELP = "File formats, separated by commas: html, md, tex, csv, parquet, svg, pdf, png."
OBJECTIVES_HELP = (
    "Objectives of the Pareto front, separated by commas, such as robust_accuracy,macs:min. "
    "Default: those of the search."
)


class PartsOption(click.Option):
    """An option whose help names parts. It is made when it is shown, so it has those of installed packages.

    Args:
        told: gives the help.
    """

    def __init__(self, *args: Any, told: Callable[[], str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._told = told

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        with failures():
            self.help = self._told()
        return super().get_help_record(ctx)


class Seconds(click.ParamType[float]):
    """A duration such as 90s, 30m or 2h, converted to seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else texts.seconds(str(value))
        except ValueError as error:
            raise UsageFailure(f"--time-budget {error}") from None


class OutputPath(click.ParamType[Path]):
    """A path; `~` stands for the home folder, also where a shell leaves it."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        try:
            return expand(value)
        except UsageError as error:
            raise UsageFailure(str(error)) from None


class Number(click.ParamType[float]):
    """A number, or a fraction such as 8/255."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(texts.number(value))
        except (TypeError, ValueError):
            option = param.opts[0] if param else "the value"
            raise UsageFailure(f"{option} is {value!r}; a number such as 0.03 or 8/255 is expected") from None


def launch_options(command: F) -> F:
    """Adds the options that `search` and `resume` share: number and length of trials, and `limit_options`."""
    epochs = click.option("--max-epochs", type=int, help="Number of epochs of a full training.")
    trials = click.option("--trials", type=int, help="Number of trials of the whole run, without replicates.")
    return trials(epochs(limit_options(command)))


def limit_options(command: F) -> F:
    """Adds the options of every launch: time budget, concurrency, GPUs per trial, address of the cluster."""
    for option in reversed(
        [
            click.option(
                "--time-budget", type=Seconds(), help="Stop after this time, such as 90s, 30m or 2h."
            ),
            click.option(
                "--concurrency",
                type=int,
                help="Largest number of trials that run at the same time. Default: as many as fit.",
            ),
            click.option(
                "--gpus-per-trial",
                type=float,
                help="GPUs for each trial; with 0.25, four trials share one GPU.",
            ),
            click.option(
                "--address",
                envvar="RAY_ADDRESS",
                show_envvar=True,
                help="Address of a running Ray cluster, or auto. Default: this machine only.",
            ),
        ]
    ):
        command = option(command)
    return command
