"""Commands that say what a run has found: report, best."""

import sys
from pathlib import Path

import click

from rtune.cli.failures import failures
from rtune.cli.options import (
    FORMATS_HELP,
    OBJECTIVES_HELP,
    RUNS,
)


@click.command()
@click.argument("run", nargs=-1, required=True)
@RUNS
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Folder; RUN/report by default, report for several.",
)
@click.option("--format", "formats", default="html,csv,svg,png", show_default=True, help=FORMATS_HELP)
@click.option("--objectives", help=OBJECTIVES_HELP)
@click.option("--follow", is_flag=True, help="Make it anew while the search runs, until it ends.")
def report(
    run: tuple[str, ...],
    runs: str,
    output: Path | None,
    formats: str,
    objectives: str | None,
    follow: bool,
) -> None:
    """Write the report of RUN, or of several side by side: a page, the front as tables and pictures."""
    from rtune.cli.actions import reports

    with failures():
        sys.exit(reports.report(run, runs, output, formats, objectives, follow))


@click.command()
@click.argument("run", nargs=-1, required=True)
@RUNS
@click.option("--where", multiple=True, metavar="METRIC>=NUMBER", help="A constraint; all given must hold.")
@click.option("--maximize", metavar="METRIC", help="What the best has most of.")
@click.option("--minimize", metavar="METRIC", help="What the best has least of, such as macs.")
@click.option("--objectives", help=OBJECTIVES_HELP)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def best(
    run: tuple[str, ...],
    runs: str,
    where: tuple[str, ...],
    maximize: str | None,
    minimize: str | None,
    objectives: str | None,
    as_json: bool,
) -> None:
    """Say which network of RUN is best under constraints, or, without any, the front and its knee.

    rtune best RUN --where "robust_accuracy>=0.45" --maximize channel_sparsity
    """
    from rtune.cli.actions import reports

    with failures():
        sys.exit(reports.best(run, runs, where, maximize, minimize, objectives, as_json))
