"""Options that commands share, and how their values are read."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from rtune.cli.failures import UsageFailure
from rtune.config import spec

F = TypeVar("F", bound=Callable[..., Any])
RUNS = click.option(
    "--runs",
    default="runs",
    show_default=True,
    help="Folder of the runs: a path, or a URI as s3://bucket/runs.",
)

WHICH_HELP = "front, best, all, or t0001,t0002"
FORMATS_HELP = "Of html, md, tex, csv, parquet, svg, pdf, png, with commas."
OBJECTIVES_HELP = "Of the front, with commas, such as robust_accuracy,macs:min; the search's by default."


class Seconds(click.ParamType[float]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else spec.seconds(str(value))
        except ValueError as error:
            raise UsageFailure(f"--time-budget {error}") from None


class Number(click.ParamType[float]):
    """A number, or a fraction such as 8/255."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(spec.number(value))
        except (TypeError, ValueError):
            option = param.opts[0] if param else "the value"
            raise UsageFailure(f"{option} is {value!r}; a number such as 0.03 or 8/255 is expected") from None


def launch_options(command: F) -> F:
    """Options of a launch, shared by `search` and `resume`."""
    epochs = click.option("--max-epochs", type=int, help="Epochs of a full training.")
    trials = click.option("--trials", type=int, help="Trials of the whole run; replicates come on top.")
    return trials(epochs(limit_options(command)))


def limit_options(command: F) -> F:
    """Options of any launch: where, how long, how many trials at once."""
    for option in reversed(
        [
            click.option("--time-budget", type=Seconds(), help="End after this time, such as 90s, 30m, 2h."),
            click.option("--concurrency", type=int, help="Trials at once; as many as fit by default."),
            click.option("--gpus-per-trial", type=float, help="GPUs of a trial; 0.25 puts four on one."),
            click.option(
                "--address",
                envvar="RAY_ADDRESS",
                show_envvar=True,
                help="A running Ray cluster, such as auto; this machine by default.",
            ),
        ]
    ):
        command = option(command)
    return command
