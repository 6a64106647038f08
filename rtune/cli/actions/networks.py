"""The work of `rtune export` and `rtune evaluate`."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from rtune.cli.actions import selection
from rtune.cli.own_analysis import analysis
from rtune.config import attack_names
from rtune.console import complain, make_console
from rtune.errors import SpecError
from rtune.run.folder import RunFolder, find_run
from rtune.storage import paths


def export(run: str, runs: str, trial: str, output: Path | None) -> None:
    """Writes a network to a file and prints a description. Errors as `rtune.evaluate.export.export`."""
    from rtune.evaluate import export as exporting

    folder = find_run(run, runs)
    click.echo(exporting.export(folder, trial, output or Path(f"{trial}.pt2")))


def evaluate(
    run: str,
    runs: str,
    which: str,
    attacks: str,
    split: str,
    diagnose: bool,
    settings: dict[str, Any],
) -> int:
    """Attacks networks of a run, prints their accuracies, and writes the report.

    Args:
        run, runs: as `rtune.run.folder.find_run` takes them.
        which: `front`, `best`, `all`, or trials separated by commas.
        attacks: names as `rtune.config.attack_names.parse` takes them.
        split: `test` or `validation`.
        diagnose: whether `rtune.robust.diagnostics` runs too.
        settings: fields of `attack_names.Settings`; None as `epsilon` or `step_size` for the default.

    Returns:
        The exit code: 0; 1 if a network could not be evaluated; 130 after an interrupt.

    Raises:
        AttackNameError, SpecError, RunError: an argument is wrong, or the data is not available.
    """
    names = attack_names.parse(attacks)
    for missing in filter(None, (name.part.missing() for name in names)):
        raise SpecError(missing)
    folder = find_run(run, runs)
    source = str(folder.place / "search.yaml")
    fixed = attack_names.of_run(folder.spec.file.evaluation, source, settings)
    trials = selection.choose(folder, which)
    try:
        troubles = _evaluate(folder, trials, names, fixed, split, diagnose)
    except KeyboardInterrupt:
        complain("interrupted; all printed results are saved, and the same command continues from there")
        return 130
    except OSError as error:
        complain(f"the evaluation ended early; what it printed is saved: {paths.sentence(error)}")
        return 1
    _show(folder, trials, split)
    for trouble in troubles:
        complain(trouble)
    return 1 if troubles else 0


def _evaluate(
    folder: RunFolder,
    trials: list[str],
    names: list[attack_names.AttackName],
    settings: attack_names.Settings,
    split: str,
    diagnose: bool,
) -> list[str]:
    """As `rtune.evaluate.evaluation.evaluate`; data that is not available is a SpecError."""
    from rtune.evaluate import evaluation
    from rtune.robust import DataError

    try:
        return evaluation.evaluate(folder, trials, names, settings, split, diagnose, make_console(sys.stdout))
    except DataError as error:
        raise SpecError(str(error)) from None


def _show(folder: RunFolder, trials: list[str], split: str) -> None:
    """Prints the accuracies, writes the report, and prints where it is."""
    from rtune.cli.own_analysis import write

    console = make_console(sys.stdout)
    console.print(_evaluation_table(folder, trials, split))
    console.print(f"report: {write.write([folder])[0]}", soft_wrap=True)


def _evaluation_table(folder: RunFolder, trials: list[str], split: str) -> Table | str:
    """A table of the accuracies of these trials on a split and in the search; a sentence if none exist."""
    columns, rows, remark = analysis.evaluation_table(folder, split, trials)
    if not rows:
        return "there are no results for these networks"
    table = Table(title=f"{split} split; {remark}", title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", "\n"), justify="left" if column == "trial" else "right")
    for row in rows:
        table.add_row(*row)
    return table
