"""What the commands do that look at a run, below the command line's parsing."""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

import analysis
from rtune.cli import selection
from rtune.config import attack_names
from rtune.errors import RunError, RunFailure, SpecError, UnknownTrialError
from rtune.run import schema, summary
from rtune.run.folder import RunFolder, find_run, storage_errors
from rtune.run.ledger import Ledger, fold
from rtune.search import explain
from rtune.storage.places import LocalPlace, StorageError

_STATES = (*schema.STATUSES, "waiting")


def results(run: str, runs: str, kind: str, output: Path | None) -> None:
    """All rows of a run on standard output or in a file."""
    folder = find_run(run, runs)
    try:
        _write_results(folder, kind, output)
    except BrokenPipeError:
        raise
    except (OSError, StorageError) as error:
        raise RunFailure(f"the results cannot be written: {error}") from None


def _write_results(folder: RunFolder, kind: str, output: Path | None) -> None:
    import pyarrow.parquet

    if kind == "parquet":
        if output is None and sys.stdout.isatty():
            raise SpecError("--format parquet is not text; name a file with --output")
        made = io.BytesIO()
        pyarrow.parquet.write_table(analysis.table(folder), made)
        data = made.getvalue()
    elif kind == "csv":
        data = analysis.load(folder).to_csv(index=False).encode()
    else:
        data = (analysis.load(folder).to_json(orient="records", date_format="iso", indent=1) + "\n").encode()
    if output is not None:
        LocalPlace(output).write(data)  # whole or not at all
    else:
        sys.stdout.buffer.write(data)


def status(run: str, runs: str, as_json: bool, trial: str | None) -> None:
    """Where a run stands, or what became of one trial and why."""
    folder = find_run(run, runs)
    log = folder.read()
    if trial is not None:
        try:
            waiting = "running" if folder.is_live() else "interrupted"
            for line in explain.explain(log.records, folder.spec, trial, waiting):
                click.echo(line)
        except UnknownTrialError as error:
            raise SpecError(str(error)) from None
        return
    ledger = fold(log.records)
    live = folder.is_live()
    trials, max_epochs = summary.trials(ledger, folder.spec), summary.max_epochs(ledger, folder.spec)
    counts, again = summary.counts(ledger, trials), summary.replicates(ledger)
    for found in (counts, again):
        if not live and "running" in found:
            found["interrupted"] = found.pop("running")
    concurrency = ledger.launches[-1].concurrency if ledger.launches else 1
    objectives = folder.spec.search.objectives
    with storage_errors():
        files = folder.place.files()
    facts = {
        "run": str(folder.place),
        "live": live,
        "trials": trials,
        **{state: counts.get(state, 0) for state in _STATES},
        "replicates": {state: again.get(state, 0) for state in _STATES},
        "epochs": sum(t.epoch for t in ledger.own.values()),
        "epochs_without_early_stopping": summary.unstopped_epochs(ledger, max_epochs),
        "objectives": list(objectives),
        "hypervolume": summary.run_hypervolume(ledger, objectives),
        "bytes": sum(files.values()),
        "checkpoint_bytes": sum(n for path, n in files.items() if path.startswith("trials/")),
        "seconds_left": summary.seconds_left(ledger, trials, max_epochs, concurrency),
        "notes": log.notes,
    }
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    _print_status(facts, ledger, folder)


def prune_checkpoints(run: str, runs: str) -> None:
    """Deletes checkpoints that neither the front nor a trial under way needs, and says what that freed."""
    from rtune.run import retention

    folder = find_run(run, runs)
    with storage_errors():
        done = retention.prune(folder)
    click.echo(
        f"files deleted: {done.files}, freed: {summary.size(done.bytes)}; "
        f"left: networks of the front {done.of_front}, others of trials under way {done.under_way}"
    )


def report(
    named: Sequence[str],
    runs: str,
    output: Path | None,
    formats: str,
    objectives: str | None,
    follow: bool,
) -> int:
    """Writes the report of one or several runs and says where; exit code."""
    from analysis import report as making

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
    from analysis import choosing

    if maximize is not None and minimize is not None:
        raise RunError("--maximize and --minimize are both given; one of them must go")
    one = f"{maximize}:max" if maximize is not None else f"{minimize}:min" if minimize is not None else None
    folders = [find_run(run, runs) for run in named]
    found = choosing.choose(folders, _asked(objectives), one, constraints)
    for sentence in found.damage():
        _note(sentence)
    click.echo(json.dumps(found.records(), indent=1) if as_json else found.text())
    return 0 if found.any() else 1


def export(run: str, runs: str, trial: str, output: Path | None) -> None:
    """Writes a network as a file and says what it is."""
    from rtune.evaluate import export as exporting

    folder = find_run(run, runs)
    click.echo(exporting.export(folder, trial, output or Path(f"{trial}.pt2")))


def _note(sentence: str) -> None:
    click.echo(f"rtune: {sentence}", err=True)


def _asked(objectives: str | None) -> list[str] | None:
    return None if objectives is None else [name.strip() for name in objectives.split(",")]


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
    from analysis.report import write
    from rtune.console import make_console
    from rtune.evaluate import evaluation
    from rtune.robust import DataError, autoattack

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


def _print_status(facts: dict[str, Any], ledger: Ledger, folder: RunFolder) -> None:
    max_epochs = summary.max_epochs(ledger, folder.spec)
    again = facts["replicates"]
    replicates = f"; {sum(again.values())} replicates: {_states(again)}" if any(again.values()) else ""
    click.echo(f"{facts['run']}: {facts['trials']} trials: {_states(facts)}{replicates}")
    objectives = ", ".join(facts["objectives"])
    click.echo(summary.saving(ledger, max_epochs))
    if (stops := summary.stops(ledger)) is not None:
        click.echo(stops)
    click.echo(f"hypervolume of {objectives}: {facts['hypervolume']:.3f}")
    click.echo(
        f"size {summary.size(facts['bytes'])}, of which checkpoints {summary.size(facts['checkpoint_bytes'])}"
    )
    left = facts["seconds_left"]
    if facts["live"]:
        click.echo("a launch is running" + ("" if left is None else f"; about {summary.clock(left)} left"))
    elif any(found[state] for found in (facts, again) for state in ("interrupted", "waiting")):
        more = "" if left is None else f" (about {summary.clock(left)})"
        click.echo(f"no launch is running; go on with: {folder.resume_command()}{more}")
    else:
        click.echo("the search is done")
    for trial in ledger.trials.values():
        if trial.error is not None:
            click.echo(f"{trial.id} {summary.outcome(trial, max_epochs)}: {trial.error}")
    for note in facts["notes"]:
        click.echo(f"note: {note}")


def _states(counts: dict[str, Any]) -> str:
    return ", ".join(f"{counts[s]} {s}" for s in _STATES if counts[s]) or "nothing begun"
