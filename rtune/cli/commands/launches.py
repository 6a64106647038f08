"""Commands that train: search, resume, replicate."""

import math
import sys
from typing import Any

import click

from rtune.cli.failures import UsageFailure, failures
from rtune.cli.options import (
    RUNS,
    WHICH_HELP,
    PartsOption,
    launch_options,
    limit_options,
)
from rtune.config import spaces, spec, yaml_file
from rtune.config.catalog import SAMPLERS
from rtune.console import continue_without_output


@click.command()
@click.argument("space")
@click.option("--name", help="Name of the run. Default: the name of SPACE and the time.")
@RUNS
@launch_options
@click.option("--sampler", cls=PartsOption, told=lambda: f"Sampler: {', '.join(SAMPLERS.names())}.")
@click.option("--seed", type=int, help="Seed of the search, of its trials and of the data split.")
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="PATH=VALUE",
    help="Replace a value of the search file, such as model.width=8. May be repeated.",
)
@click.option(
    "--dry-run", is_flag=True, help="Only estimate what the search would cost; write and start nothing."
)
@click.option(
    "--price", type=float, help="With --dry-run: price of a GPU-hour, or of a core-hour without GPUs."
)
@click.option(
    "--epoch-seconds",
    type=float,
    help="With --dry-run: seconds of one epoch. Default: an epoch is measured on this machine.",
)
def search(
    space: str,
    name: str | None,
    runs: str,
    address: str | None,
    sets: tuple[str, ...],
    dry_run: bool,
    price: float | None,
    epoch_seconds: float | None,
    **options: Any,
) -> None:
    """Start a search.

    SPACE is the name of a built-in search space (see `rtune spaces`) or the path of a search file.
    """
    _check_dry_run(dry_run, price, epoch_seconds)
    from rtune.cli.actions import launches

    fields = {
        "trials": "search.trials",
        "time_budget": "search.time_budget",
        "concurrency": "search.concurrency",
        "gpus_per_trial": "search.gpus_per_trial",
        "sampler": "search.sampler",
        "seed": "search.seed",
        "max_epochs": "training.max_epochs",
    }
    overrides = [_assignment(text) for text in sets]
    overrides += [(fields[key], value) for key, value in options.items() if value is not None]
    with failures():
        file = spaces.find(space)
        search_spec, asked = spec.load(file, overrides), None
        if dry_run:
            from rtune.dryrun.estimate import DryRunOptions

            asked = DryRunOptions(price, epoch_seconds)
        else:
            continue_without_output()
        sys.exit(launches.search(search_spec, file.stem, name, runs, address, asked))


@click.command()
@click.argument("run")
@RUNS
@launch_options
def resume(run: str, runs: str, address: str | None, **limits: Any) -> None:
    """Continue RUN.

    Unfinished trials continue from their checkpoints, then new trials start. Use it after a crash, after
    Ctrl-C or when the time budget has been spent. It can also extend a run: to more trials (--trials) or to
    longer trainings (--max-epochs).
    """
    from rtune.cli.actions import launches

    with failures():
        continue_without_output()
        sys.exit(launches.resume(run, runs, address, {k: v for k, v in limits.items() if v is not None}))


@click.command()
@click.argument("run")
@RUNS
@click.option("--trials", default="front", show_default=True, metavar="WHICH", help=WHICH_HELP)
@click.option(
    "--seeds",
    type=int,
    default=5,
    show_default=True,
    help="Number of seeds of each setting, including the seed of the original trial.",
)
@limit_options
def replicate(run: str, runs: str, trials: str, seeds: int, address: str | None, **limits: Any) -> None:
    """Train settings of RUN again with other seeds.

    This shows which differences between settings are larger than the differences between seeds. A replicate
    trains as many epochs as the original trial. A setting that already has this number of seeds is not
    trained again. Replicates do not change the course of the search.
    """
    from rtune.cli.actions import launches

    given = {key: value for key, value in limits.items() if value is not None}
    with failures():
        continue_without_output()
        sys.exit(launches.replicate(run, runs, address, trials, seeds, given))


def _check_dry_run(dry_run: bool, price: float | None, epoch_seconds: float | None) -> None:
    for option, value in (("--price", price), ("--epoch-seconds", epoch_seconds)):
        if value is not None and not dry_run:
            raise UsageFailure(f"{option} is {value:g}; it needs --dry-run")
    if price is not None and not 0 <= price < math.inf:
        raise UsageFailure(f"--price is {price:g}; it must be a number of at least 0")
    if epoch_seconds is not None and not 0 < epoch_seconds < math.inf:
        raise UsageFailure(f"--epoch-seconds is {epoch_seconds:g}; it must be a number above 0")


def _assignment(text: str) -> tuple[str, Any]:
    path, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not path:
        raise UsageFailure(f"--set {text[:80]!r} must be PATH=VALUE, such as model.width=8")
    try:
        return path, yaml_file.parse_value(value)
    except yaml_file.YamlError as error:
        raise UsageFailure(f"--set {path[:80]}: {error}") from None
