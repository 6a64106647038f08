"""Commands for networks of a run: export, evaluate."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from rtune.cli.failures import failures
from rtune.cli.options import (
    RUNS,
    WHICH_HELP,
    Number,
    OutputPath,
    PartsOption,
)
from rtune.config import attack_names
from rtune.config.catalog import ATTACKS, Attack
from rtune.console import continue_without_output


def _attacks() -> str:
    """A line for each attack of the catalog: its name, with -K if it takes a number of steps, and `about`."""
    names = {f"{part.name}{'-K' if part.steps else ''}": part.about for part in ATTACKS}
    width = max(map(len, names))
    return "\n".join(f"{name:{width}}  {about}" for name, about in names.items())


def _evaluate_help() -> str:
    return f"""Measure the accuracy of networks of RUN under strong attacks.

By default these are the networks of the Pareto front, on the test split, which the search does not use. The
results are written to the run folder and appear in the report. A result that is already there is not computed
again.

Attacks, where K is the number of steps:

\b
{_attacks()}

For a noisy network, eot- before {_names(part for part in ATTACKS if part.eot)} averages each
gradient over several draws of the noise (expectation over transformation), as in eot-pgd-20.
"""


def _names(parts: Iterable[Attack]) -> str:
    return ", ".join(part.name for part in parts) or "no attack"


class _Evaluate(click.Command):
    """The command `evaluate`, whose help is made when it is shown: it lists attacks of installed packages."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with failures():
            self.help = _evaluate_help()
        super().format_help_text(ctx, formatter)


@click.command()
@click.argument("run")
@click.argument("trial")
@RUNS
@click.option("--output", "-o", type=OutputPath(), help="File, ending in .pt2. Default: TRIAL.pt2.")
def export(run: str, trial: str, runs: str, output: Path | None) -> None:
    """Write the network of TRIAL to a file.

    The file contains the network after the last epoch of TRIAL, without the channels that can be removed. It
    can be used without rtune: in Python, torch.export.load(FILE).module() gives the network.
    """
    from rtune.cli.actions import networks

    with failures():
        networks.export(run, runs, trial, output)


@click.command(cls=_Evaluate, short_help="Measure accuracy under strong attacks.")
@click.argument("run")
@RUNS
@click.option("--trials", default="front", show_default=True, metavar="WHICH", help=WHICH_HELP)
@click.option(
    "--attacks", default=attack_names.DEFAULT, show_default=True, help="Attacks, separated by commas."
)
@click.option(
    "--split",
    type=click.Choice(["test", "validation"]),
    default="test",
    show_default=True,
    help="Images to attack.",
)
@click.option(
    "--epsilon",
    type=Number(),
    help="l-infinity radius for pixels in [0, 1], such as 8/255. Default: that of the search file.",
)
@click.option(
    "--step-size",
    type=Number(),
    help="Length of a step, in the same unit. Default: that of the search file; with --epsilon, epsilon / 4.",
)
@click.option(
    "--epsilon-l2",
    type=Number(),
    default=0.5,
    show_default=True,
    cls=PartsOption,
    told=lambda: f"l2 radius of {_names(part for part in ATTACKS if part.norm == 'l2')}.",
)
@click.option(
    "--restarts",
    type=int,
    default=1,
    show_default=True,
    cls=PartsOption,
    told=lambda: f"Number of random starts of {_names(part for part in ATTACKS if part.restarts)}.",
)
@click.option(
    "--eot-draws", type=int, default=10, show_default=True, help="Noise draws per gradient of eot- attacks."
)
@click.option(
    "--noise-draws",
    type=int,
    default=10,
    show_default=True,
    help="How often a noisy network classifies each image.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the attacks and of the noise.")
@click.option(
    "--diagnose",
    is_flag=True,
    help="Also check for signs that the accuracy is too high because an attack is weak.",
)
def evaluate(
    run: str, runs: str, trials: str, attacks: str, split: str, diagnose: bool, **settings: Any
) -> None:
    from rtune.cli.actions import networks

    with failures():
        continue_without_output()  # each result is saved before it is printed
        sys.exit(networks.evaluate(run, runs, trials, attacks, split, diagnose, settings))
