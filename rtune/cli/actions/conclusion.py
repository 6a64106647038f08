"""What a launch ends with: the front, the report's path, and how to go on."""

import sys

import click
import pandas as pd
from rich.table import Table

import analysis
from rtune.errors import RunError
from rtune.run import summary
from rtune.run.folder import RunFolder
from rtune.run.ledger import fold, validation_images


def conclude(folder: RunFolder, reason: str | None, command: str) -> int:
    """Prints the front and the report's path, or how to go on; exit code."""
    from analysis.report import text
    from analysis.report.write import write
    from rtune.console import make_console

    networks = analysis.networks(analysis.load(folder))
    console = make_console(sys.stdout)
    if networks.empty and reason is None:
        click.echo(f"rtune: no trial ended with a network; see 'rtune status {folder.place}'", err=True)
        return 1
    if not networks.empty:
        ledger = fold(folder.read().records)
        console.print(_front_table(folder, networks))
        cut = text.partly(
            analysis.front(networks, folder.spec.search.objectives), validation_images(ledger.launches)
        )
        if cut is not None:
            console.print(cut, soft_wrap=True)
        console.print(summary.saving(ledger, summary.max_epochs(ledger, folder.spec)))
        try:
            console.print(f"report: {write([folder])[0]}", soft_wrap=True)
        except RunError as error:
            click.echo(f"rtune: {error}; all else is saved, and 'rtune report' tries again", err=True)
            return 1
    if reason is not None:
        console.print(how_to_go_on(reason, command), soft_wrap=True)
    return 130 if reason == "interrupted" else 0


def _front_table(folder: RunFolder, networks: pd.DataFrame) -> Table:
    objectives = list(folder.spec.search.objectives)
    front = analysis.front(networks, objectives)
    volume = analysis.hypervolume(networks[objectives].to_numpy(float))
    table = Table(
        title=f"front: {len(front)} of {len(networks)} networks; hypervolume {volume:.3f}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("trial")
    shown = list(dict.fromkeys([*objectives, "weight_sparsity", "channel_sparsity"]))
    for name in shown:
        table.add_column(name.replace("_", "\n"), justify="right")
    table.add_column("parameters", justify="right")
    table.add_column("MACs", justify="right")
    table.add_column("epochs", justify="right")
    table.add_column("settings", overflow="fold")  # narrow terminals cut nothing off
    searched = folder.spec.searched()
    for row in front.to_dict("records"):
        values = {path: row[path] for path in searched if pd.notna(row[path])}
        table.add_row(
            str(row["trial"]),
            *(f"{row[name]:.3f}" for name in shown),
            f"{row['parameters']:,.0f}",
            f"{row['macs']:,.0f}",
            str(row["epoch"]),
            summary.settings(values),
        )
    return table


def how_to_go_on(reason: str, command: str) -> str:
    return f"ended early ({reason}); every finished epoch is saved. Go on with: {command}"


def broken_off(reason: str, folder: RunFolder, command: str) -> str:
    return (
        f"the launch broke off: {reason}; every finished epoch is saved, the whole story is in "
        f"{folder.place / 'launch.log'}. Go on with: {command}"
    )
