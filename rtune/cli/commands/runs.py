"""Commands that show a run or delete its unneeded checkpoints: results, status, prune-checkpoints."""

from pathlib import Path

import click

from rtune.cli.failures import failures
from rtune.cli.options import (
    RUNS,
    OutputPath,
)


@click.command()
@click.argument("run")
@RUNS
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "json", "parquet"]),
    default="csv",
    show_default=True,
    help="File format.",
)
@click.option("--output", "-o", type=OutputPath(), help="File to write. Default: standard output.")
def results(run: str, runs: str, kind: str, output: Path | None) -> None:
    """Print the results table of RUN.

    It has one row for each epoch of each trial.
    """
    from rtune.cli.actions import runs as actions

    with failures():
        actions.results(run, runs, kind, output)


@click.command()
@click.argument("run")
@RUNS
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option(
    "--explain", metavar="ID", help="Print why this trial, such as t0003, was stopped or continued."
)
def status(run: str, runs: str, as_json: bool, explain: str | None) -> None:
    """Print the state of RUN.

    This includes the number of trials in each state, the hypervolume of the Pareto front, the size of the run
    folder and an estimate of the time left.
    """
    from rtune.cli.actions import runs as actions

    with failures():
        actions.status(run, runs, as_json, explain)


@click.command()
@click.argument("run")
@RUNS
def prune_checkpoints(run: str, runs: str) -> None:
    """Delete checkpoints of RUN that are not needed.

    Checkpoints of the Pareto front and of unfinished trials stay.
    """
    from rtune.cli.actions import runs as actions

    with failures():
        actions.prune_checkpoints(run, runs)
