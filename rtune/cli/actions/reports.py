"""The work of `rtune report` and `rtune best`."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from rtune.console import complain
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
    """Writes the report of one or several runs and prints the paths of its files.

    Args:
        named, runs: the runs, each as `rtune.run.folder.find_run` takes it.
        output: folder of the report; None for the default.
        formats: separated by commas.
        objectives: of the front, separated by commas; None for those of the search.
        follow: whether the report is updated until the search ends.

    Returns:
        The exit code: 0, or 130 after an interrupt of `follow`.

    Raises:
        RunError: a run, format or objective does not exist, or the report cannot be written.
    """
    from rtune.cli.own_analysis import write as making

    wanted = making.parse_formats(formats)
    folders = [find_run(run, runs) for run in named]
    if len(folders) > 1 and output is None:
        output = Path("report")
    asked = _asked(objectives)
    if not follow:
        for path in making.write(folders, output, wanted, asked, on_damage=complain):
            click.echo(path)
        return 0
    try:
        for path in making.follow(folders, output, wanted, asked):
            click.echo(path)
    except KeyboardInterrupt:
        complain("interrupted; the page shows the state of its last update")
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
    """Prints the best network under constraints, or the front if there are none.

    Args:
        named, runs: the runs, each as `rtune.run.folder.find_run` takes it.
        constraints: such as `robust_accuracy>=0.45`; all must be met.
        maximize, minimize: a metric, at most one of them; None for none.
        objectives: of the front, separated by commas; None for those of the search.
        as_json: JSON instead of text.

    Returns:
        The exit code: 0, or 1 if no network meets the constraints.

    Raises:
        RunError: a run, metric or constraint is wrong.
    """
    from rtune.cli.own_analysis import choose

    if maximize is not None and minimize is not None:
        raise RunError("--maximize and --minimize are both given; only one of them is allowed")
    one = f"{maximize}:max" if maximize is not None else f"{minimize}:min" if minimize is not None else None
    folders = [find_run(run, runs) for run in named]
    found = choose.choose(folders, _asked(objectives), one, constraints)
    for sentence in found.damage():
        complain(sentence)
    click.echo(json.dumps(found.records(), indent=1) if as_json else found.text())
    return 0 if found.any() else 1


def _asked(objectives: str | None) -> list[str] | None:
    return None if objectives is None else [name.strip() for name in objectives.split(",")]
