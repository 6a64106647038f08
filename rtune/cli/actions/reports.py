"""What report and best do."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from rtune.errors import RunError
from rtune.run.folder import find_run


def report(
    named: Sequence[str],
    runs: str,
    output: Path | None,
    formats: str,
    objectives: str | None,
    follow: bool,
) -> int:
    """Writes the report of one or several runs and says where; exit code."""
    from analysis.report import write as making

    wanted = making.parse_formats(formats)
    folders = [find_run(run, runs) for run in named]
    if len(folders) > 1 and output is None:
        output = Path("report")
    asked = _asked(objectives)
    if not follow:
        for path in making.write(folders, output, wanted, asked, on_damage=_note):
            click.echo(path)
        return 0
    try:
        for path in making.follow(folders, output, wanted, asked):
            click.echo(path)
    except KeyboardInterrupt:
        click.echo("rtune: no longer followed; the page is as of its last making", err=True)
        return 130
    return 0


def best(
    named: Sequence[str],
    runs: str,
    constraints: Sequence[str],
    maximize: str | None,
    minimize: str | None,
    objectives: str | None,
    as_json: bool,
) -> int:
    """Prints the best network under constraints, or the front; exit code 1 if none meets them."""
    from analysis.report import choose

    if maximize is not None and minimize is not None:
        raise RunError("--maximize and --minimize are both given; one of them must go")
    one = f"{maximize}:max" if maximize is not None else f"{minimize}:min" if minimize is not None else None
    folders = [find_run(run, runs) for run in named]
    found = choose.choose(folders, _asked(objectives), one, constraints)
    for sentence in found.damage():
        _note(sentence)
    click.echo(json.dumps(found.records(), indent=1) if as_json else found.text())
    return 0 if found.any() else 1


def _note(sentence: str) -> None:
    click.echo(f"rtune: {sentence}", err=True)


def _asked(objectives: str | None) -> list[str] | None:
    return None if objectives is None else [name.strip() for name in objectives.split(",")]
