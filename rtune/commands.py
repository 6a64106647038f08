"""What the commands do that look at a run, below the command line's parsing."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.table import Table

import analysis
from rtune import attack_names, explain, runfolder, schema, spec, summary
from rtune.ledger import Ledger, fold
from rtune.storage import LocalPlace, StorageError

_STATES = (*schema.STATUSES, "waiting")


def results(run: str, runs: str, kind: str, output: Path | None) -> None:
    """All rows of a run on standard output or in a file."""
    folder = runfolder.find(run, runs)
    try:
        _write_results(folder, kind, output)
    except BrokenPipeError:
        raise
    except (OSError, StorageError) as error:
        raise runfolder.RunFailure(f"the results cannot be written: {error}") from None


def _write_results(folder: runfolder.RunFolder, kind: str, output: Path | None) -> None:
    import pyarrow.parquet

    if kind == "parquet":
        if output is None and sys.stdout.isatty():
            raise spec.SpecError("--format parquet is not text; name a file with --output")
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
    folder = runfolder.find(run, runs)
    log = folder.read()
    if trial is not None:
        try:
            for line in explain.explain(log.records, folder.spec, trial):
                click.echo(line)
        except explain.UnknownTrialError as error:
            raise spec.SpecError(str(error)) from None
        return
    ledger = fold(log.records)
    live = folder.is_live()
    trials, max_epochs = summary.trials(ledger, folder.spec), summary.max_epochs(ledger, folder.spec)
    counts = summary.counts(ledger, trials)
    if not live and "running" in counts:
        counts["interrupted"] = counts.pop("running")
    concurrency = ledger.launches[-1].concurrency if ledger.launches else 1
    objectives = folder.spec.search.objectives
    with runfolder.storage_errors():
        files = folder.place.files()
    facts = {
        "run": str(folder.place),
        "live": live,
        "trials": trials,
        **{state: counts.get(state, 0) for state in _STATES},
        "epochs": sum(t.epoch for t in ledger.trials.values()),
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
    from rtune import keeping

    folder = runfolder.find(run, runs)
    with runfolder.storage_errors():
        done = keeping.prune(folder)
    click.echo(
        f"files deleted: {done.files}, freed: {summary.size(done.bytes)}; "
        f"left: networks of the front {done.of_front}, others of trials under way {done.under_way}"
    )


def report(run: str, runs: str, output: Path | None) -> None:
    """Writes a run's report and says where."""
    from analysis.report import write

    folder = runfolder.find(run, runs)
    for path in write(folder, output):
        click.echo(path)


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
    folder = runfolder.find(run, runs)
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
    from rtune import evaluate as evaluation
    from rtune.robust import DataError, autoattack
    from rtune.search.quiet import make_console

    trials = evaluation.choose(folder, which)
    console = make_console(sys.stdout)
    try:
        if any(name.kind == "autoattack" for name in names):
            autoattack.require()
        troubles = evaluation.evaluate(folder, trials, names, fixed, split, diagnose, console)
    except (DataError, autoattack.MissingPackage) as error:
        raise spec.SpecError(str(error)) from None
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
    console.print(f"report: {write(folder)[0]}", soft_wrap=True)
    for trouble in troubles:
        click.echo(f"rtune: {trouble}", err=True)
    return 1 if troubles else 0


def _evaluation_table(folder: runfolder.RunFolder, trials: list[str], split: str) -> Table | str:
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


def _print_status(facts: dict[str, Any], ledger: Ledger, folder: runfolder.RunFolder) -> None:
    max_epochs = summary.max_epochs(ledger, folder.spec)
    states = ", ".join(f"{facts[s]} {s}" for s in _STATES if facts[s]) or "nothing begun"
    click.echo(f"{facts['run']}: {facts['trials']} trials: {states}")
    objectives = ", ".join(facts["objectives"])
    click.echo(summary.saving(ledger, max_epochs))
    click.echo(f"hypervolume of {objectives}: {facts['hypervolume']:.3f}")
    click.echo(
        f"size {summary.size(facts['bytes'])}, of which checkpoints {summary.size(facts['checkpoint_bytes'])}"
    )
    left = facts["seconds_left"]
    if facts["live"]:
        click.echo("a launch is running" + ("" if left is None else f"; about {summary.clock(left)} left"))
    elif facts["interrupted"] or facts["waiting"]:
        more = "" if left is None else f" (about {summary.clock(left)})"
        click.echo(f"no launch is running; go on with: {folder.resume_command()}{more}")
    else:
        click.echo("the search is done")
    for trial in ledger.trials.values():
        if trial.error is not None:
            click.echo(f"{trial.id} {summary.outcome(trial, max_epochs)}: {trial.error}")
    for note in facts["notes"]:
        click.echo(f"note: {note}")
