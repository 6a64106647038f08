"""What the commands do, below the command line's parsing."""

import datetime
import importlib.metadata
import json
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pandas as pd
from rich.table import Table

import analysis
from rtune import __version__, attack_names, explain, runfolder, schema, spec, summary
from rtune.ledger import Ledger, fold
from rtune.search import resources
from rtune.search.interrupt import Interrupt

_STATES = (*schema.STATUSES, "waiting")


def search(search_spec: spec.Spec, stem: str, name: str | None, runs: Path, address: str | None) -> int:
    """Starts a run; exit code. Nothing is written unless data and resources are there."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem)
    name = name or f"{stem}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    runfolder.available(runs, name)
    limits = resources.Limits.of(search_spec.search, search_spec.trials)

    def make() -> runfolder.RunFolder:
        return runfolder.RunFolder.create(runs, name, search_spec, _provenance())

    return _launch(search_spec, make, limits, address)


def resume(run: str, runs: Path, address: str | None, changes: dict[str, Any]) -> int:
    """Goes on with a run, up to more trials if asked; exit code."""
    folder = runfolder.find(run, runs)
    if folder.is_live():
        raise runfolder.RunError(f"{folder.path} is in use: a launch is running on it")
    tree = folder.spec.to_tree()
    tree["search"].update(changes)
    settings = spec.from_tree(tree, {}, "command line").search
    ledger = fold(folder.read().records)
    wanted = changes.get("trials", _trials(folder, ledger))
    if wanted < len(ledger.trials):
        raise runfolder.RunError(
            f"--trials is {wanted}, but {folder.path} has begun {len(ledger.trials)} already"
        )
    return _launch(folder.spec, lambda: folder, resources.Limits.of(settings, wanted), address)


def _trials(folder: runfolder.RunFolder, ledger: Ledger) -> int:
    """Trials of the whole run, as the newest launch has it."""
    return ledger.launches[-1].trials if ledger.launches else folder.spec.trials


def results(run: str, runs: Path, kind: str, output: Path | None) -> None:
    """All rows of a run on standard output or in a file."""
    folder = runfolder.find(run, runs)
    try:
        _write_results(folder, kind, output)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise runfolder.RunError(f"the results cannot be written: {error}") from None


def _write_results(folder: runfolder.RunFolder, kind: str, output: Path | None) -> None:
    import pyarrow.parquet

    target: Any = output or sys.stdout.buffer
    if kind == "parquet":
        if output is None and sys.stdout.isatty():
            raise spec.SpecError("--format parquet is not text; name a file with --output")
        pyarrow.parquet.write_table(analysis.table(folder), target)
        return
    frame = analysis.load(folder)
    if kind == "csv":
        text = frame.to_csv(index=False)
    else:
        text = frame.to_json(orient="records", date_format="iso", indent=1) + "\n"
    if output is not None:
        output.write_text(text, encoding="utf-8")
    else:
        target.write(text.encode())


def status(run: str, runs: Path, as_json: bool, trial: str | None) -> None:
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
    trials = _trials(folder, ledger)
    counts = summary.counts(ledger, trials)
    if not live and "running" in counts:
        counts["interrupted"] = counts.pop("running")
    concurrency = ledger.launches[-1].concurrency if ledger.launches else 1
    objectives = folder.spec.search.objectives
    facts = {
        "run": str(folder.path),
        "live": live,
        "trials": trials,
        **{state: counts.get(state, 0) for state in _STATES},
        "epochs": sum(t.epoch for t in ledger.trials.values()),
        "epochs_without_early_stopping": summary.unstopped_epochs(ledger, folder.spec.max_epochs),
        "objectives": list(objectives),
        "hypervolume": summary.run_hypervolume(ledger, objectives),
        "seconds_left": summary.seconds_left(ledger, trials, folder.spec.max_epochs, concurrency),
        "notes": log.notes,
    }
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    _print_status(facts, ledger, folder)


def report(run: str, runs: Path, output: Path | None) -> None:
    """Writes a run's report and says where."""
    from analysis.report import write

    folder = runfolder.find(run, runs)
    for path in write(folder, output):
        click.echo(path)


def evaluate(
    run: str,
    runs: Path,
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
    console.print(f"report: {write(folder)[0].resolve()}", soft_wrap=True)
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


def _launch(
    search_spec: spec.Spec,
    make: Callable[[], runfolder.RunFolder],
    limits: resources.Limits,
    address: str | None,
) -> int:
    """Checks resources and data, starts Ray, makes or opens the run folder, runs trials; exit code."""
    folder: runfolder.RunFolder | None = None
    try:
        with Interrupt() as interrupt:
            # What costs least to find out comes first; nothing is written before all is well.
            if address is None:
                concurrency = resources.fitting(limits, [resources.local()])
            else:
                resources.check_answers(address)
            _check_data(search_spec)
            from rtune.search import launch
            from rtune.search.progress import Progress
            from rtune.search.quiet import Diversion

            with Diversion() as diversion, launch.cluster(address):
                if address is not None:
                    concurrency = resources.fitting(limits, launch.nodes())
                interrupt.listen()
                if interrupt.requested:
                    raise KeyboardInterrupt
                folder = make()
                diversion.into(folder.path / "launch.log")
                diversion.console.print(
                    f"{limits.trials} trials on {search_spec.file.data.dataset}, {concurrency} at once; "
                    f"run folder {folder.path}, report at the end in {folder.path / 'report' / 'index.html'}",
                    soft_wrap=True,
                )
                progress = Progress(diversion.console)
                reason = launch.launch(folder, limits, concurrency, progress, interrupt)
    except resources.ResourceError as error:
        raise spec.SpecError(str(error)) from None
    except runfolder.LaunchError as error:
        click.echo(f"rtune: {error}", err=True)
        return 1
    except KeyboardInterrupt:
        more = "nothing was begun" if folder is None else _how_to_go_on("interrupted", folder)
        click.echo(f"rtune: {more}", err=True)
        return 130
    return _conclude(folder, reason)


def _how_to_go_on(reason: str, folder: runfolder.RunFolder) -> str:
    return f"ended early ({reason}); every finished epoch is saved. Go on with: rtune resume {folder.path}"


def _conclude(folder: runfolder.RunFolder, reason: str | None) -> int:
    """Prints the front and the report's path, or how to go on; exit code."""
    from analysis.report import write
    from rtune.search.quiet import make_console

    networks = analysis.networks(analysis.load(folder))
    console = make_console(sys.stdout)
    if networks.empty and reason is None:
        click.echo(f"rtune: no trial ended with a network; see 'rtune status {folder.path}'", err=True)
        return 1
    if not networks.empty:
        console.print(_front_table(folder, networks))
        console.print(summary.saving(fold(folder.read().records), folder.spec.max_epochs))
        page = write(folder)[0]
        console.print(f"report: {page.resolve()}", soft_wrap=True)
    if reason is not None:
        console.print(_how_to_go_on(reason, folder), soft_wrap=True)
    return 130 if reason == "interrupted" else 0


def _front_table(folder: runfolder.RunFolder, networks: pd.DataFrame) -> Table:
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


def _print_status(facts: dict[str, Any], ledger: Ledger, folder: runfolder.RunFolder) -> None:
    states = ", ".join(f"{facts[s]} {s}" for s in _STATES if facts[s]) or "nothing begun"
    click.echo(f"{facts['run']}: {facts['trials']} trials: {states}")
    objectives = ", ".join(facts["objectives"])
    click.echo(summary.saving(ledger, folder.spec.max_epochs))
    click.echo(f"hypervolume of {objectives}: {facts['hypervolume']:.3f}")
    left = facts["seconds_left"]
    if facts["live"]:
        click.echo("a launch is running" + ("" if left is None else f"; about {summary.clock(left)} left"))
    elif facts["interrupted"] or facts["waiting"]:
        more = "" if left is None else f" (about {summary.clock(left)})"
        click.echo(f"no launch is running; go on with: rtune resume {folder.path}{more}")
    else:
        click.echo("the search is done")
    for trial in ledger.trials.values():
        if trial.error is not None:
            click.echo(f"{trial.id} {summary.outcome(trial, folder.spec.max_epochs)}: {trial.error}")
    for note in facts["notes"]:
        click.echo(f"note: {note}")


def _check_data(search_spec: spec.Spec) -> None:
    """Fetches the data if need be; a person hears of missing data before anything is written."""
    import torch

    from rtune import build
    from rtune.robust import DataError

    try:
        build.splits(search_spec.file.data, search_spec.search.seed, torch.device("cpu"), download=True)
    except DataError as error:
        raise spec.SpecError(str(error)) from None


def _provenance() -> dict[str, Any]:
    packages = ("torch", "torchvision", "ray", "optuna", "numpy")
    return {
        "rtune": __version__,
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
        "machine": f"{platform.system()} {platform.machine()}",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["rtune", *sys.argv[1:]]),
    }
