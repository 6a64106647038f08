"""Whole searches by the command line, as processes of their own, and what must be true of their tables."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil

import analysis
from tests.support.paths import ROOT

TINY = ["--set", "model.width=2", "--set", "attack.steps=1", "--set", "evaluation.steps=1", "--seed", "1"]


def check_whole(run: Path | str, max_epochs: int) -> pd.DataFrame:
    """Every trial once, its epochs 1, 2, ... without gap or double, metrics in range."""
    rows = analysis.load(run)
    for _, trial in rows.groupby("trial"):
        assert trial["epoch"].tolist() == list(range(1, len(trial) + 1))
        assert trial["status"].nunique() == 1
        if trial["status"].iloc[0] == "finished":
            assert len(trial) == max_epochs
    trained = rows[rows["error"].isna()]
    for name in (
        "natural_accuracy",
        "robust_accuracy",
        "channel_sparsity",
        "weight_sparsity",
        "removable_channels",
    ):
        assert trained[name].between(0, 1).all()
    return rows


def check_kept(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Every row of a table is in a later one, and is the same: none was lost, no epoch ran again."""
    merged = before.merge(after, on=["trial", "epoch"])  # a stopped trial may have gone on since
    assert len(merged) == len(before)
    assert (merged["time_x"] == merged["time_y"]).all()


def start(
    folder: Path, *args: str, module: str = "rtune", output: int = subprocess.PIPE, **environment: str
) -> "subprocess.Popen[str]":
    """`rtune ARGS` in a folder, both its outputs in one."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *args],
        cwd=folder,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        start_new_session=True,
    )


def logged(run: Path, epochs: int) -> Callable[[], bool]:
    return lambda: (run / "search.yaml").exists() and len(analysis.load(run)) >= epochs


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def kill(process: "subprocess.Popen[str]") -> None:
    """The driver and all its children, with SIGKILL."""
    children = family(process)
    process.kill()
    process.wait()
    for child in children:
        if child.is_running():
            child.kill()
