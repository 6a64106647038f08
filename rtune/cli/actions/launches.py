"""The work of `rtune search`, `rtune resume` and `rtune replicate`, after their options have been parsed."""

import contextlib
import datetime
import importlib.metadata
import platform
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import analysis
from rtune import __version__
from rtune.cli.actions import conclusion, selection
from rtune.cluster import preflight, resources
from rtune.cluster.interrupt import Interrupt
from rtune.cluster.output import OutputRedirect
from rtune.config import spec
from rtune.errors import LaunchError, ResourceError, RunError, SpecError
from rtune.run import changes, schema, summary
from rtune.run.folder import RunFolder, find_run, new_run, storage_errors
from rtune.run.ledger import Ledger, fold
from rtune.search.limits import Limits
from rtune.storage.places import Place, StorageError, place

if TYPE_CHECKING:
    from rtune.dryrun import estimate
    from rtune.search.replicates import ReplicateRequest


def search(
    search_spec: spec.Spec,
    stem: str,
    name: str | None,
    runs: str,
    address: str | None,
    asked: "estimate.DryRunOptions | None" = None,
) -> int:
    """Starts a run; with `asked`, only prints an estimate of its cost.

    Nothing is written before data and resources have been checked.

    Args:
        search_spec: the search file, with the options of the command line applied.
        stem: name of the search file without its ending; part of the default name of the run.
        name: name of the run; None for `stem` and the time.
        runs: folder or URI of the runs.
        address: of a Ray cluster; None for this machine.
        asked: the options of `--dry-run`; None without it.

    Returns:
        The exit code.

    Raises:
        SpecError, RunError: the search cannot start; nothing has been written.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem)
    name = name if name is not None else f"{stem}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    new_run(runs, name)
    limits = Limits.of(search_spec.search, search_spec.trials, search_spec.max_epochs)
    if asked is not None:
        from rtune.dryrun import estimate

        return estimate.dry_run(search_spec, limits, address, asked)

    def make(data: str) -> RunFolder:
        return RunFolder.create(runs, name, search_spec, _provenance())

    return _launch(search_spec, make, limits, address, place(runs))


def resume(run: str, runs: str, address: str | None, options: dict[str, Any]) -> int:
    """Continues a run, and extends it if `options` ask for more or longer trials.

    Args:
        run, runs: as `rtune.run.folder.find_run` takes them.
        address: of a Ray cluster; None for this machine.
        options: limits of this launch: `trials`, `max_epochs`, and fields of the search file's `search`.

    Returns:
        The exit code.

    Raises:
        SpecError, RunError: the run cannot be continued; it is unchanged.
    """
    folder, records, ledger = _found(run, runs)
    limits = _limits(folder, ledger, options)
    if _left(folder, records, ledger, limits) == 0:
        click.echo(
            f"all {limits.trials} trials have ended; --trials adds trials, --max-epochs makes them longer"
        )
        return conclusion.conclude(folder, None, "")
    return _launch(folder.spec, _same_data(folder, ledger), limits, address, folder.place)


def replicate(
    run: str, runs: str, address: str | None, which: str, seeds: int, options: dict[str, Any]
) -> int:
    """Adds trials that repeat settings of a run with other seeds, and finishes unfinished replicates.

    Args:
        run, runs: as `rtune.run.folder.find_run` takes them.
        address: of a Ray cluster; None for this machine.
        which: `front`, `best`, `all`, or trials separated by commas; replicates are not counted.
        seeds: number of seeds of each setting, including the seed of the original trial.
        options: limits of this launch.

    Returns:
        The exit code.

    Raises:
        SpecError, RunError: an argument is not possible; the run is unchanged.
    """
    from rtune.search.replicates import MOST_SEEDS, ReplicateRequest

    if not 2 <= seeds <= MOST_SEEDS:
        raise SpecError(
            f"--seeds is {seeds}; it must be 2 to {MOST_SEEDS}, including the seed of the original trial"
        )
    folder, records, ledger = _found(run, runs)
    asked = ReplicateRequest(tuple(_originals(folder, ledger, which)), seeds)
    limits = _limits(folder, ledger, options)
    left = _left(folder, records, ledger, limits, asked)
    if left == 0:
        click.echo(f"each of the {len(asked.trials)} settings has already been trained with {seeds} seeds")
        return conclusion.conclude(folder, None, "")
    repeats = _Repeats(asked, which, left)
    return _launch(folder.spec, _same_data(folder, ledger), limits, address, folder.place, repeats)


@dataclass(frozen=True)
class _Repeats:
    """A launch that repeats settings.

    Attributes:
        asked: the original trials and the number of seeds.
        which: the value of `--trials`, for the command that continues.
        trials: number of trainings that remain.
    """

    asked: "ReplicateRequest"
    which: str
    trials: int


def _found(run: str, runs: str) -> tuple[RunFolder, list[dict[str, Any]], Ledger]:
    """A run that can be continued, its records, and the ledger of the records.

    Raises:
        RunError: there is no such run, another launch is running, or search.yaml and the log do not agree.
    """
    folder = find_run(run, runs)
    with folder.launch():
        pass  # find out whether the run can be written to before Ray starts
    records = folder.read().records
    ledger = fold(records)
    if ledger.trials and not ledger.launches:
        raise RunError(
            f"the log of {folder.place} has lost the record of its first launch, so it is unknown whether "
            "search.yaml and the data are the original ones; start a new search"
        )
    begun = ledger.launches[0] if ledger.launches else None
    if begun and (found := changes.differences(begun.search, folder.spec)):
        raise RunError(
            f"{folder.place / 'search.yaml'} has been changed since the search began: {found}; "
            "restore it, or start a new search with it"
        )
    for trial in ledger.trials.values():
        try:
            folder.spec.identity(trial.values)
        except (ValueError, KeyError, TypeError):
            raise RunError(
                f"the log of {folder.place} has settings for {trial.id} that do not belong to this search; "
                "the record has been edited"
            ) from None
    return folder, records, ledger


def _same_data(folder: RunFolder, ledger: Ledger) -> Callable[[str], RunFolder]:
    """A function of the data's fingerprint that returns the folder; RunError if the data has changed."""
    begun = ledger.launches[0] if ledger.launches else None

    def check(data: str) -> RunFolder:
        if begun and begun.data != data:
            config = folder.spec.file.data
            raise RunError(
                f"the images or labels of {config.dataset} in {config.folder or 'its package'} are not those "
                f"that {folder.place} began with; restore them, or start a new search"
            )
        return folder

    return check


def _originals(folder: RunFolder, ledger: Ledger, which: str) -> list[str]:
    """The original trials that `--trials` selects; the name of a replicate selects its original."""
    networks = analysis.networks(analysis.load(folder))
    originals = {trial.id: trial.of for trial in ledger.trials.values() if trial.of is not None}
    meant = ",".join(originals.get(part.strip(), part) for part in which.split(","))
    return selection.choose(folder, meant, networks[networks["sampler"] != schema.REPLICATE])


def _limits(folder: RunFolder, ledger: Ledger, options: dict[str, Any]) -> Limits:
    """Limits of this launch: from the options, else from the latest launch, else from the search file."""
    longest = summary.max_epochs(ledger, folder.spec)
    max_epochs = options.get("max_epochs", longest)
    if max_epochs < longest:
        raise RunError(
            f"--max-epochs is {max_epochs}, but a full training of {folder.place} already has {longest} "
            "epochs; it can only be increased"
        )
    tree = folder.spec.to_tree()
    tree["training"]["max_epochs"] = max_epochs
    tree["search"].update({key: value for key, value in options.items() if key != "max_epochs"})
    settings = spec.from_tree(tree, {}, spec.OPTION).search
    trials = options.get("trials", summary.trials(ledger, folder.spec))
    if trials < len(ledger.own):
        raise RunError(
            f"--trials is {trials}, but {folder.place} has already started {len(ledger.own)} trials"
        )
    return Limits.of(settings, trials, max_epochs)


def _left(
    folder: RunFolder,
    records: list[dict[str, Any]],
    ledger: Ledger,
    limits: Limits,
    asked: "ReplicateRequest | None" = None,
) -> int:
    """Number of trials that a launch with these limits would train; with `asked`, of replicates only."""
    from rtune.search import plan
    from rtune.search.state import Search

    planned = plan.of_launch(folder.spec, limits, ledger)
    begin = plan.launch_record(folder.spec, planned, limits, 1, "", (1, 1), "resume")
    search = Search(planned, [*records, begin], lambda record: None, replicates_only=asked is not None)
    if asked is not None:
        search.replicate(asked)
    return search.remaining()


def _launch(
    search_spec: spec.Spec,
    open_folder: Callable[[str], RunFolder],
    limits: Limits,
    address: str | None,
    storage: Place,
    repeats: _Repeats | None = None,
) -> int:
    """Checks resources and data, starts Ray, creates or opens the run folder, and runs the trials; exit code.

    With `repeats`, only replicates are trained. Without, the search and unfinished replicates are.
    """
    folder: RunFolder | None = None

    def command() -> str:
        assert folder is not None
        if repeats is None:
            return folder.resume_command(address)
        options = {"--trials": repeats.which, "--seeds": repeats.asked.seeds, "--address": address}
        return folder.command("replicate", options)

    try:
        with Interrupt() as interrupt:
            # The cheapest checks come first; nothing is written before all of them have passed.
            if address is None:
                concurrency = resources.concurrency(limits, resources.local())
            else:
                preflight.check(address)
            data = _check_data(search_spec)

            def if_ray_dies() -> tuple[str, int]:
                assert folder is not None
                if interrupt.requested:
                    return conclusion.how_to_go_on("interrupted", command()), 130
                return conclusion.broken_off("Ray has died on this machine", folder, command()), 1

            from rtune.cluster import connection, launch, machines, watchdog
            from rtune.cluster.progress import Progress

            with OutputRedirect() as output, connection.connect(address), contextlib.ExitStack() as stack:
                progress = Progress(output.console)
                them = None
                if address is not None:
                    concurrency = resources.concurrency(limits, connection.room())
                    them = stack.enter_context(machines.Machines(limits, storage, progress.on_note))
                interrupt.listen()
                if them is not None:
                    them.check_all(interrupt)
                if interrupt.requested:
                    raise KeyboardInterrupt
                folder = open_folder(data)
                at_once = "as many at once as fit" if concurrency is None else f"{concurrency} at once"
                what = (
                    f"{limits.trials} trials"
                    if repeats is None
                    else f"{repeats.trials} replicate{'s' * (repeats.trials != 1)}"
                )
                output.console.print(
                    f"{what} on {search_spec.file.data.dataset}, {at_once}; "
                    f"run folder {folder.place}, report at the end in "
                    f"{folder.place / 'report' / 'index.html'}",
                    soft_wrap=True,
                )
                with _launch_log(folder, output), watchdog.exit_if_ray_dies(interrupt.screen, if_ray_dies):
                    asked = None if repeats is None else repeats.asked
                    reason = launch.launch(
                        folder, limits, concurrency, data, progress, interrupt, them, asked
                    )
    except ResourceError as error:
        raise SpecError(str(error)) from None
    except LaunchError as error:
        assert folder is not None
        click.echo(f"rtune: {conclusion.broken_off(str(error), folder, command())}", err=True)
        return 1
    except KeyboardInterrupt:
        more = "nothing was started" if folder is None else conclusion.how_to_go_on("interrupted", command())
        click.echo(f"rtune: {more}", err=True)
        return 130
    return conclusion.conclude(folder, reason, command())


@contextlib.contextmanager
def _launch_log(folder: RunFolder, output: OutputRedirect) -> Iterator[None]:
    """Context in which the output of Ray goes to launch.log in the run folder.

    If the run is in an object store, the file is uploaded at the end.
    """
    target = folder.place / "launch.log"
    if target.local is not None:
        with storage_errors():
            output.redirect_to(target.local)
        yield
        return
    with tempfile.TemporaryDirectory(prefix="rtune-") as scratch:
        words = Path(scratch) / "launch.log"
        output.redirect_to(words)
        try:
            yield
        finally:
            with contextlib.suppress(StorageError):
                before = target.read() if target.exists() else b""
                target.write(before + words.read_bytes())


def _check_data(search_spec: spec.Spec) -> str:
    """Builds each part once and downloads the data if necessary, before anything is written.

    Returns:
        The fingerprint of the data.

    Raises:
        PartError, SpecError: a part cannot be used, or the data is not available.
    """
    from rtune.robust import DataError
    from rtune.worker import build, check

    check.check_parts(search_spec)
    try:
        return build.fingerprint(search_spec.file.data, search_spec.search.seed)
    except DataError as error:
        raise SpecError(str(error)) from None


def _provenance() -> dict[str, Any]:
    packages = ("torch", "torchvision", "ray", "optuna", "numpy")
    return {
        "rtune": __version__,
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
        "machine": f"{platform.system()} {platform.machine()}",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["rtune", *sys.argv[1:]]),
    }
