"""Commands that present the results of a run: report, best."""

import sys
from pathlib import Path

import click

from rtune.cli.failures import failures
from rtune.cli.options import (
    FORMATS_HELP,
    OBJECTIVES_HELP,
    RUNS,
    OutputPath,
)


@click.command()
@click.argument("run", nargs=-1, required=True)
@RUNS
@click.option(
    "--output",
    "-o",
    type=OutputPath(),
    help="Folder for the files. Default: report in the folder of RUN, or ./report for several runs.",
)
@click.option("--format", "formats", default="html,csv,svg,png", show_default=True, help=FORMATS_HELP)
@click.option("--objectives", help=OBJECTIVES_HELP)
@click.option("--follow", is_flag=True, help="Update the report until the search ends.")
def report(
    run: tuple[str, ...],
    runs: str,
    output: Path | None,
    formats: str,
    objectives: str | None,
    follow: bool,
) -> None:
    """Write the report of one or several runs.

    With several runs, the report compares them. It is an HTML page, with the Pareto front as tables and
    figures.
    """
    from rtune.cli.actions import reports

    with failures():
        sys.exit(reports.report(run, runs, output, formats, objectives, follow))


@click.command()
@click.argument("run", nargs=-1, required=True)
@RUNS
@click.option("--where", multiple=True, metavar="METRIC>=NUMBER", help="Constraint; may be repeated.")
@click.option("--maximize", metavar="METRIC", help="The best network has the largest value of this metric.")
@click.option("--minimize", metavar="METRIC", help="The best network has the smallest value of this metric.")
@click.option("--objectives", help=OBJECTIVES_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def best(
    run: tuple[str, ...],
    runs: str,
    where: tuple[str, ...],
    maximize: str | None,
    minimize: str | None,
    objectives: str | None,
    as_json: bool,
) -> None:
    """Print the best network of RUN under constraints.

    Without constraints, print the Pareto front and its knee. Example:

    rtune best RUN --where "robust_accuracy>=0.45" --maximize channel_sparsity
    """
    from rtune.cli.actions import reports

    with failures():
        sys.exit(reports.best(run, runs, where, maximize, minimize, objectives, as_json))
