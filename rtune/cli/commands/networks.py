"""Commands for single networks of a run: export, evaluate."""

import sys
from pathlib import Path
from typing import Any

import click

from rtune.cli.failures import failures
from rtune.cli.options import (
    RUNS,
    WHICH_HELP,
    Number,
)
from rtune.config import attack_names


@click.command()
@click.argument("run")
@click.argument("trial")
@RUNS
@click.option("--output", "-o", type=click.Path(path_type=Path), help="A .pt2 file; TRIAL.pt2 by default.")
def export(run: str, trial: str, runs: str, output: Path | None) -> None:
    """Write the network of a TRIAL of RUN as a file that runs without rtune, its removable channels cut out.

    torch.export.load(FILE).module() is the network.
    """
    from rtune.cli.actions import networks

    with failures():
        networks.export(run, runs, trial, output)


@click.command()
@click.argument("run")
@RUNS
@click.option("--trials", default="front", show_default=True, metavar="WHICH", help=WHICH_HELP)
@click.option("--attacks", default=attack_names.DEFAULT, show_default=True, help="Names, with commas.")
@click.option("--split", type=click.Choice(["test", "validation"]), default="test", show_default=True)
@click.option("--epsilon", type=Number(), help="Radius in pixel units; the search file's by default.")
@click.option("--step-size", type=Number(), help="The search file's, or epsilon / 4 with --epsilon.")
@click.option("--epsilon-l2", type=Number(), default=0.5, show_default=True, help="Radius of cw-l2.")
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
    from rtune.cli.actions import networks

    with failures():
        sys.exit(networks.evaluate(run, runs, trials, attacks, split, diagnose, settings))
