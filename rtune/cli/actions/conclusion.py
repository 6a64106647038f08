"""The output at the end of a launch: the Pareto front, the report's path, and the command to continue."""

import sys

import click
import pandas as pd
from rich.table import Table

from rtune.cli.own_analysis import analysis
from rtune.errors import RunError
from rtune.metrics import METRICS
from rtune.run import summary
from rtune.run.folder import RunFolder
from rtune.run.ledger import Ledger, fold, validation_images

# Metrics that the table shows in addition to the objectives.
_ALWAYS = ("weight_sparsity", "channel_sparsity", "parameters", "macs")


def conclude(folder: RunFolder, reason: str | None, command: str) -> int:
    """Prints the front and writes the report; if the launch ended early, also prints how to continue.

    Args:
        folder: the run.
        reason: why the launch ended early, such as `interrupted`; None if the search has ended.
        command: the command that continues the run.

    Returns:
        The exit code: 0; 1 without any network or without a report; 130 after an interrupt.
    """
    from rtune.cli.own_analysis import text, write
    from rtune.console import make_console

    networks = analysis.networks(analysis.load(folder))
    console = make_console(sys.stdout)
    if networks.empty and reason is None:
        click.echo(f"rtune: no trial has produced a network; see 'rtune status {folder.place}'", err=True)
        return 1
    if not networks.empty:
        ledger = fold(folder.read().records)
        console.print(_front_table(folder, networks, ledger))
        cut = text.partly(
            analysis.front(networks, folder.spec.objectives), validation_images(ledger.launches)
        )
        if cut is not None:
            console.print(cut, soft_wrap=True)
        console.print(summary.saving(ledger, summary.max_epochs(ledger, folder.spec)))
        try:
            console.print(f"report: {write.write([folder])[0]}", soft_wrap=True)
        except RunError as error:
            click.echo(
                f"rtune: {error}; all results are saved, and 'rtune report' writes the report again", err=True
            )
            return 1
    if reason is not None:
        console.print(how_to_go_on(reason, command), soft_wrap=True)
    return 130 if reason == "interrupted" else 0


def _front_table(folder: RunFolder, networks: pd.DataFrame, ledger: Ledger) -> Table:
    objectives = list(folder.spec.objectives)
    front = analysis.front(networks, objectives)
    volume = summary.volume(summary.run_hypervolume(ledger, objectives))
    reference = summary.hypervolume_reference(ledger, objectives)
    table = Table(
        title=f"front: {len(front)} of {len(networks)} networks; hypervolume {volume}{reference}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("trial")
    shown = list(dict.fromkeys([*(o.name for o in objectives), *_ALWAYS]))
    for name in shown:
        table.add_column(METRICS[name].label.replace(" ", "\n"), justify="right")
    table.add_column("epochs", justify="right")
    table.add_column("settings", overflow="fold")  # in a narrow terminal, wrap instead of truncating
    searched = folder.spec.searched()
    for row in front.to_dict("records"):
        values = {path: row[path] for path in searched if pd.notna(row[path])}
        table.add_row(
            str(row["trial"]),
            *(METRICS[name].format(row[name]) for name in shown),
            str(row["epoch"]),
            summary.settings(values),
        )
    return table


def how_to_go_on(reason: str, command: str) -> str:
    """The sentence for a launch that ended early, with the command that continues the run."""
    return f"ended early ({reason}); every finished epoch is saved. Go on with: {command}"


def gone(reason: str) -> str:
    """The sentence for a launch that failed because its run folder is gone."""
    return f"the launch broke off: {reason}; if the folder is elsewhere, go on with: rtune resume FOLDER"


def broken_off(reason: str, folder: RunFolder, command: str) -> str:
    """The sentence for a launch that failed, with the log file and the command that continues the run."""
    return (
        f"the launch broke off: {reason}; every finished epoch is saved, and the details are in "
        f"{folder.place / 'launch.log'}. Go on with: {command}"
    )
