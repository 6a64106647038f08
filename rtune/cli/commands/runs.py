"""Commands that look at a run and keep its folder small: results, status, prune-checkpoints."""

from pathlib import Path

import click

from rtune.cli.failures import failures
from rtune.cli.options import (
    RUNS,
)


@click.command()
@click.argument("run")
@RUNS
@click.option(
    "--format", "kind", type=click.Choice(["csv", "json", "parquet"]), default="csv", show_default=True
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="A file instead of standard output.")
def results(run: str, runs: str, kind: str, output: Path | None) -> None:
    """Print all rows of RUN, one a trial and epoch."""
    from rtune.cli.actions import runs as actions

    with failures():
        actions.results(run, runs, kind, output)


@click.command()
@click.argument("run")
@RUNS
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--explain", metavar="ID", help="Why this trial was stopped or went on, such as t0003.")
def status(run: str, runs: str, as_json: bool, explain: str | None) -> None:
    """Say what RUN has done, what runs, the hypervolume and the time left."""
    from rtune.cli.actions import runs as actions

    with failures():
        actions.status(run, runs, as_json, explain)


@click.command()
@click.argument("run")
@RUNS
def prune_checkpoints(run: str, runs: str) -> None:
    """Delete RUN's checkpoints but those of the front and of trials under way."""
    from rtune.cli.actions import runs as actions

    with failures():
        actions.prune_checkpoints(run, runs)
