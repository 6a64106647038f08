"""The work of `rtune search`, `rtune resume` and `rtune replicate`, after their options have been parsed."""

import datetime
import importlib.metadata
import platform
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from rtune import __version__
from rtune.cli.actions import conclusion, continuation
from rtune.cli.actions.launching import Launch, Repeats
from rtune.config import spec
from rtune.errors import SpecError
from rtune.run import claim
from rtune.run.folder import RunFolder, new_run
from rtune.search.limits import Limits
from rtune.storage.places import place

if TYPE_CHECKING:
    from rtune.dryrun import estimate


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
    wanted = name if name is not None else _default_name(stem)
    new_run(runs, wanted)
    limits = Limits.of(search_spec.search, search_spec.trials, search_spec.max_epochs)
    if asked is not None:
        from rtune.dryrun import estimate

        return estimate.dry_run(search_spec, limits, address, asked)

    with claim.claim_free(runs, wanted) if name is None else claim.claim(runs, wanted) as claimed:

        def make(data: str) -> RunFolder:
            return claimed.make(search_spec, _provenance())

        return Launch(search_spec, make, limits, address, place(runs)).run()


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
    folder, records, ledger = continuation.found(run, runs)
    limits = continuation.limits(folder, ledger, options)
    if continuation.left(folder, records, ledger, limits) == 0:
        click.echo(
            f"all {limits.trials} trials have ended; --trials adds trials, --max-epochs makes them longer"
        )
        return conclusion.conclude(folder, None, "")
    same_data = continuation.same_data(folder, ledger)
    return Launch(folder.spec, same_data, limits, address, folder.place).run()


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
    folder, records, ledger = continuation.found(run, runs)
    asked = ReplicateRequest(tuple(continuation.originals(folder, ledger, which)), seeds)
    limits = continuation.limits(folder, ledger, options)
    left = continuation.left(folder, records, ledger, limits, asked)
    if left == 0:
        click.echo(f"each of the {len(asked.trials)} settings has already been trained with {seeds} seeds")
        return conclusion.conclude(folder, None, "")
    same_data = continuation.same_data(folder, ledger)
    repeats = Repeats(asked, which, left)
    return Launch(folder.spec, same_data, limits, address, folder.place, repeats).run()


def _default_name(stem: str) -> str:
    """The name of a run that is given none: letters and digits of the search file's name, and the time."""
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")[:80] or "search"
    return f"{short}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


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
