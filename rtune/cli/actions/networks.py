"""What export and evaluate do."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.table import Table

import analysis
from rtune.cli.actions import selection
from rtune.config import attack_names
from rtune.errors import SpecError
from rtune.run.folder import RunFolder, find_run


def export(run: str, runs: str, trial: str, output: Path | None) -> None:
    """Writes a network as a file and says what it is."""
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
    """Attacks networks of a run, prints what is known of them, writes the report; exit code."""
    names = attack_names.parse(attacks)
    folder = find_run(run, runs)
    own = folder.spec.file.evaluation
    default_step = own.step_size if settings["epsilon"] is None else settings["epsilon"] / 4
    fixed = attack_names.Settings(
        **settings
        | {
            "epsilon": own.epsilon if settings["epsilon"] is None else settings["epsilon"],
            "step_size": default_step if settings["step_size"] is None else settings["step_size"],
        }
    )
    from analysis.report.write import write
    from rtune.console import make_console
    from rtune.evaluate import evaluation
    from rtune.robust import DataError
    from rtune.robust.attacks import autoattack

    trials = selection.choose(folder, which)
    console = make_console(sys.stdout)
    try:
        if any(name.kind == "autoattack" for name in names):
            autoattack.require()
        troubles = evaluation.evaluate(folder, trials, names, fixed, split, diagnose, console)
    except (DataError, autoattack.MissingPackage) as error:
        raise SpecError(str(error)) from None
    except KeyboardInterrupt:
        click.echo(
            "rtune: interrupted; every figure printed is saved, and the same command goes on from there",
            err=True,
        )
        return 130
    except BrokenPipeError:
        raise
    except OSError as error:
        click.echo(f"rtune: the evaluation ended early; what it printed is saved: {error}", err=True)
        return 1
    console.print(_evaluation_table(folder, trials, split))
    console.print(f"report: {write([folder])[0]}", soft_wrap=True)
    for trouble in troubles:
        click.echo(f"rtune: {trouble}", err=True)
    return 1 if troubles else 0


def _evaluation_table(folder: RunFolder, trials: list[str], split: str) -> Table | str:
    """Figures of these trials on a split beside those of the search; a sentence if there are none."""
    columns, rows, remark = analysis.evaluation_table(folder, split, trials)
    if not rows:
        return "nothing is known of these networks"
    table = Table(title=f"{split} split; {remark}", title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", "\n"), justify="left" if column == "trial" else "right")
    for row in rows:
        table.add_row(*row)
    return table
