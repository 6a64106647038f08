"""The work of `rtune results`, `rtune status` and `rtune prune-checkpoints`."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import click

from rtune.cli.own_analysis import analysis
from rtune.errors import RunFailure, SpecError, UnknownTrialError
from rtune.run import schema, summary
from rtune.run.folder import RunFolder, find_run, storage_errors
from rtune.run.ledger import Ledger, fold
from rtune.search import explain
from rtune.storage import paths
from rtune.storage.paths import StorageError

_STATES = (*schema.STATUSES, "waiting")


def results(run: str, runs: str, kind: str, output: Path | None) -> None:
    """Writes all rows of a run to standard output or a file.

    Args:
        run, runs: as `rtune.run.folder.find_run` takes them.
        kind: `csv`, `json` or `parquet`.
        output: the file, replaced as a whole; None for standard output.

    Raises:
        RunError, SpecError: there is no such run, or parquet would go to a terminal.
        RunFailure: the results cannot be written.
    """
    folder = find_run(run, runs)
    try:
        _write_results(folder, kind, output)
    except StorageError as error:
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
        paths.write_output(output, data)
    else:
        sys.stdout.buffer.write(data)


def status(run: str, runs: str, as_json: bool, trial: str | None) -> None:
    """Prints the state of a run, or the history of one trial with the reason of each decision.

    Args:
        run, runs: as `rtune.run.folder.find_run` takes them.
        as_json: JSON instead of text; not for a trial.
        trial: id of the trial; None for the whole run.

    Raises:
        RunError, SpecError: there is no such run or trial.
    """
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
    objectives = folder.spec.objectives
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
        "objectives": [str(objective) for objective in objectives],
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
    """Deletes checkpoints that neither the front nor an unfinished trial needs; prints the size freed."""
    from rtune.run import retention

    folder = find_run(run, runs)
    with storage_errors():
        done = retention.prune(folder)
    click.echo(
        f"files deleted: {done.files}, freed: {summary.size(done.bytes)}; "
        f"left: networks of the front {done.of_front}, others of unfinished trials {done.under_way}"
    )


def _print_status(facts: dict[str, Any], ledger: Ledger, folder: RunFolder) -> None:
    max_epochs = summary.max_epochs(ledger, folder.spec)
    again = facts["replicates"]
    count = sum(again.values())
    replicates = f"; {count} replicate{'s' * (count != 1)}: {_states(again)}" if count else ""
    click.echo(f"{facts['run']}: {facts['trials']} trials: {_states(facts)}{replicates}")
    objectives = ", ".join(facts["objectives"])
    click.echo(summary.saving(ledger, max_epochs))
    if (stops := summary.stops(ledger)) is not None:
        click.echo(stops)
    reference = summary.hypervolume_reference(ledger, folder.spec.objectives)
    volume = summary.volume(facts["hypervolume"])
    click.echo(f"hypervolume of {objectives}: {volume}{reference}")
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
    return ", ".join(f"{counts[s]} {s}" for s in _STATES if counts[s]) or "none started"
