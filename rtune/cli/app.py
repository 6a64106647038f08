"""The command line. Heavy imports happen inside the command that needs them."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rtune import __version__
from rtune.config import attack_names, spec, yaml_file
from rtune.errors import AttackNameError, SpecError

F = TypeVar("F", bound=Callable[..., Any])
RUNS = click.option(
    "--runs",
    default="runs",
    show_default=True,
    help="Folder of the runs: a path, or a URI as s3://bucket/runs.",
)


class UsageFailure(click.ClickException):
    """Bad input: one sentence, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"rtune: {self.message}", err=True)


class _Seconds(click.ParamType[float]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else spec.seconds(str(value))
        except ValueError as error:
            raise UsageFailure(f"--time-budget {error}") from None


class _Number(click.ParamType[float]):
    """A number, or a fraction such as 8/255."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(spec.number(value))
        except (TypeError, ValueError):
            option = param.opts[0] if param else "the value"
            raise UsageFailure(f"{option} is {value!r}; a number such as 0.03 or 8/255 is expected") from None


class _OneSentence(click.Group):
    """click's own usage errors in one line too."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            code = super().main(*args, **kwargs | {"standalone_mode": False})
        except click.UsageError as error:
            sentence = " ".join(error.format_message().split())
            click.echo(f"rtune: {sentence}", err=True)
            code = 2
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            click.echo("rtune: interrupted", err=True)
            code = 130
        sys.exit(code if isinstance(code, int) else 0)


@click.group(cls=_OneSentence, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rtune")
def main() -> None:
    """Distributed hyperparameter search for robust pruning."""


_WHICH_HELP = "front, best, all, or t0001,t0002"
_FORMATS_HELP = "Of html, md, tex, csv, parquet, svg, pdf, png, with commas."
_OBJECTIVES_HELP = "Of the front, with commas, such as robust_accuracy,macs:min; the search's by default."


def launch_options(command: F) -> F:
    """Options of a launch, shared by `search` and `resume`."""
    epochs = click.option("--max-epochs", type=int, help="Epochs of a full training.")
    trials = click.option("--trials", type=int, help="Trials of the whole run; replicates come on top.")
    return trials(epochs(limit_options(command)))


def limit_options(command: F) -> F:
    """Options of any launch: where, how long, how many trials at once."""
    for option in reversed(
        [
            click.option("--time-budget", type=_Seconds(), help="End after this time, such as 90s, 30m, 2h."),
            click.option("--concurrency", type=int, help="Trials at once; as many as fit by default."),
            click.option("--gpus-per-trial", type=float, help="GPUs of a trial; 0.25 puts four on one."),
            click.option(
                "--address",
                envvar="RAY_ADDRESS",
                show_envvar=True,
                help="A running Ray cluster, such as auto; this machine by default.",
            ),
        ]
    ):
        command = option(command)
    return command


@main.command()
@click.argument("space")
@click.option("--name", help="Name of the run; the space's and the time by default.")
@RUNS
@launch_options
@click.option("--sampler", help="auto, random, tpe, nsga2 or gp.")
@click.option("--seed", type=int, help="Seed of the search, its trials and the data split.")
@click.option(
    "--set", "sets", multiple=True, metavar="PATH=VALUE", help="Replace a value of the search file."
)
@click.option("--dry-run", is_flag=True, help="Only say what the search would cost; write and start nothing.")
@click.option("--price", type=float, help="With --dry-run: of a GPU-hour, or core-hour without GPUs.")
@click.option("--epoch-seconds", type=float, help="With --dry-run: instead of measuring an epoch here.")
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
    """Search SPACE: a built-in space's name (see `rtune spaces`) or a search file."""
    _check_dry_run(dry_run, price, epoch_seconds)
    from rtune.cli import launching

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
        file = spec.find(space)
        search_spec, asked = spec.load(file, overrides), None
        if dry_run:
            from rtune.dryrun.estimate import Asked

            asked = Asked(price, epoch_seconds)
        sys.exit(launching.search(search_spec, file.stem, name, runs, address, asked))


@main.command()
@click.argument("run")
@RUNS
@launch_options
def resume(run: str, runs: str, address: str | None, **limits: Any) -> None:
    """Go on with RUN: unfinished trials from their checkpoints, then new ones.

    After a crash, a Ctrl-C or a time budget; or with more --trials, or longer ones (--max-epochs).
    """
    from rtune.cli import launching

    with failures():
        sys.exit(launching.resume(run, runs, address, {k: v for k, v in limits.items() if v is not None}))


@main.command()
@click.argument("run")
@RUNS
@click.option("--trials", default="front", show_default=True, metavar="WHICH", help=_WHICH_HELP)
@click.option("--seeds", type=int, default=5, show_default=True, help="Of each setting, its own among them.")
@limit_options
def replicate(run: str, runs: str, trials: str, seeds: int, address: str | None, **limits: Any) -> None:
    """Train settings of RUN again with other seeds: what is a better setting, and what is luck?

    Each as long as the trial that is repeated. A setting that has its seeds gets none more. The search goes
    on as if nothing had happened.
    """
    from rtune.cli import launching

    given = {key: value for key, value in limits.items() if value is not None}
    with failures():
        sys.exit(launching.replicate(run, runs, address, trials, seeds, given))


@main.command()
@click.argument("run")
@RUNS
@click.option(
    "--format", "kind", type=click.Choice(["csv", "json", "parquet"]), default="csv", show_default=True
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="A file instead of standard output.")
def results(run: str, runs: str, kind: str, output: Path | None) -> None:
    """Print all rows of RUN, one a trial and epoch."""
    from rtune.cli import runs

    with failures():
        runs.results(run, runs, kind, output)


@main.command()
@click.argument("run")
@RUNS
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--explain", metavar="ID", help="Why this trial was stopped or went on, such as t0003.")
def status(run: str, runs: str, as_json: bool, explain: str | None) -> None:
    """Say what RUN has done, what runs, the hypervolume and the time left."""
    from rtune.cli import runs

    with failures():
        runs.status(run, runs, as_json, explain)


@main.command()
@click.argument("run")
@RUNS
def prune_checkpoints(run: str, runs: str) -> None:
    """Delete RUN's checkpoints but those of the front and of trials under way."""
    from rtune.cli import runs

    with failures():
        runs.prune_checkpoints(run, runs)


@main.command()
@click.argument("run", nargs=-1, required=True)
@RUNS
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Folder; RUN/report by default, report for several.",
)
@click.option("--format", "formats", default="html,csv,svg,png", show_default=True, help=_FORMATS_HELP)
@click.option("--objectives", help=_OBJECTIVES_HELP)
@click.option("--follow", is_flag=True, help="Make it anew while the search runs, until it ends.")
def report(
    run: tuple[str, ...],
    runs: str,
    output: Path | None,
    formats: str,
    objectives: str | None,
    follow: bool,
) -> None:
    """Write the report of RUN, or of several side by side: a page, the front as tables and pictures."""
    from rtune.cli import runs

    with failures():
        sys.exit(runs.report(run, runs, output, formats, objectives, follow))


@main.command()
@click.argument("run", nargs=-1, required=True)
@RUNS
@click.option("--where", multiple=True, metavar="METRIC>=NUMBER", help="A constraint; all given must hold.")
@click.option("--maximize", metavar="METRIC", help="What the best has most of.")
@click.option("--minimize", metavar="METRIC", help="What the best has least of, such as macs.")
@click.option("--objectives", help=_OBJECTIVES_HELP)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def best(
    run: tuple[str, ...],
    runs: str,
    where: tuple[str, ...],
    maximize: str | None,
    minimize: str | None,
    objectives: str | None,
    as_json: bool,
) -> None:
    """Say which network of RUN is best under constraints, or, without any, the front and its knee.

    rtune best RUN --where "robust_accuracy>=0.45" --maximize channel_sparsity
    """
    from rtune.cli import runs

    with failures():
        sys.exit(runs.best(run, runs, where, maximize, minimize, objectives, as_json))


@main.command()
@click.argument("run")
@click.argument("trial")
@RUNS
@click.option("--output", "-o", type=click.Path(path_type=Path), help="A .pt2 file; TRIAL.pt2 by default.")
def export(run: str, trial: str, runs: str, output: Path | None) -> None:
    """Write the network of a TRIAL of RUN as a file that runs without rtune, its removable channels cut out.

    torch.export.load(FILE).module() is the network.
    """
    from rtune.cli import runs

    with failures():
        runs.export(run, runs, trial, output)


@main.command()
@click.argument("run")
@RUNS
@click.option("--trials", default="front", show_default=True, metavar="WHICH", help=_WHICH_HELP)
@click.option("--attacks", default=attack_names.DEFAULT, show_default=True, help="Names, with commas.")
@click.option("--split", type=click.Choice(["test", "validation"]), default="test", show_default=True)
@click.option("--epsilon", type=_Number(), help="Radius in pixel units; the search file's by default.")
@click.option("--step-size", type=_Number(), help="The search file's, or epsilon / 4 with --epsilon.")
@click.option("--epsilon-l2", type=_Number(), default=0.5, show_default=True, help="Radius of cw-l2.")
@click.option("--restarts", type=int, default=1, show_default=True, help="Random starts of pgd and cw.")
@click.option(
    "--eot-draws", type=int, default=10, show_default=True, help="Noise draws a gradient of eot- attacks."
)
@click.option(
    "--noise-draws", type=int, default=10, show_default=True, help="Times a noisy network is asked."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--diagnose", is_flag=True, help="Also look for signs that the attacks, not the networks, are weak."
)
def evaluate(
    run: str, runs: str, trials: str, attacks: str, split: str, diagnose: bool, **settings: Any
) -> None:
    """Attack the networks of RUN for the final figures, on the test split.

    Attacks: natural (none), fgsm, ifgsm-K, pgd-K, cw-K (C&W's loss in the l-infinity ball), cw-l2-K, each
    with eot- before it for noisy networks (gradients averaged over noise draws), and autoattack.
    """
    from rtune.cli import runs

    with failures():
        sys.exit(runs.evaluate(run, runs, trials, attacks, split, diagnose, settings))


@main.command()
def spaces() -> None:
    """List the built-in search spaces."""
    for name, file in spec.built_in().items():
        with failures():
            click.echo(f"{name:20} {spec.load(file).file.description}")


@main.command()
def schema() -> None:
    """Print the JSON schema of search files, for editors."""
    from rtune.config.json_schema import search_file_schema

    click.echo(json.dumps(search_file_schema(), indent=2))


class failures:  # noqa: N801 - reads as a word in `with failures():`
    """Turns what may go wrong for a person into one sentence and an exit code."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        from rtune.errors import RunError, RunFailure

        if isinstance(error, RunFailure):
            click.echo(f"rtune: {error}", err=True)
            sys.exit(1)
        if isinstance(error, SpecError | RunError | AttackNameError):
            raise UsageFailure(str(error)) from None
        if isinstance(error, BrokenPipeError):
            # The reader of our output has gone; there is nobody left to tell.
            sys.stderr.close()
            sys.exit(1)


def _check_dry_run(dry_run: bool, price: float | None, epoch_seconds: float | None) -> None:
    for option, value in (("--price", price), ("--epoch-seconds", epoch_seconds)):
        if value is not None and not dry_run:
            raise UsageFailure(f"{option} is {value:g}; it counts with --dry-run only")
    if price is not None and not 0 <= price < math.inf:
        raise UsageFailure(f"--price is {price:g}; it must be a number of at least 0")
    if epoch_seconds is not None and not 0 < epoch_seconds < math.inf:
        raise UsageFailure(f"--epoch-seconds is {epoch_seconds:g}; it must be a number above 0")


def _assignment(text: str) -> tuple[str, Any]:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UsageFailure(f"--set {text!r} must be PATH=VALUE, such as model.width=8")
    try:
        return path, yaml_file.parse_value(value)
    except yaml_file.YamlError as error:
        raise UsageFailure(f"--set {path}: {error}") from None
