"""Measures the cost of a search in addition to its trainings.

    python -m benchmarks.overheads --repeats 3

Runs `rtune search digits` with equal trials of one network, alternately with one and with two trials at the
same time, and reads the logs. The results are: seconds from the command to the run folder and to the first
training step, between two trials of a worker, and between two epochs of a trial (checkpoint and report); CPU
time of the driver and of Ray's processes during training, as a fraction of one core; the fraction of an epoch
that is spent in evaluation; and the number of epochs that two parallel trials train in the time of one epoch
of a single trial.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch

from benchmarks.speed.processor import processor
from rtune.run.folder import RunFolder

_SETTINGS = ("points=[]", "model.network=resnet", "pruning.method=rgsm", "search.sampler=random")


class _Spent(NamedTuple):
    """CPU seconds used up to `time` by the driver and by Ray's processes, without the workers."""

    time: float
    driver: float
    ray: float


def search(runs: Path, trials: int, epochs: int, concurrency: int) -> dict[str, float]:
    """Runs one search; returns name -> seconds, or fraction of one core or of an epoch.

    Args:
        runs: an empty folder.
        trials, epochs: number of trials, and of epochs that each is trained.
        concurrency: number of trials that run at the same time.
    """
    settings = (*_SETTINGS, f"search.early_stopping.grace={epochs}")
    options = {"--trials": trials, "--max-epochs": epochs, "--concurrency": concurrency, "--runs": runs}
    command = [sys.executable, "-m", "rtune", "search", "digits", "--name", "run"]
    command += [f"--set={setting}" for setting in settings]
    command += [str(part) for pair in options.items() for part in pair]
    begun = time.time()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        spent = _watch(process)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    records = RunFolder(runs / "run").read().records
    rows = [r for r in records if r["kind"] == "epoch"]
    first = min(r["time"] - _busy(r) for r in rows)
    last = max(r["time"] for r in rows)
    before = max((s for s in spent if s.time <= first), default=spent[0])
    after = max(s for s in spent if s.time <= last)
    return {
        "command_to_run_folder": next(r["time"] for r in records if r["kind"] == "launch") - begun,
        "command_to_first_step": first - begun,
        **_pauses(rows, concurrency),
        "driver_share_of_a_core": (after.driver - before.driver) / (after.time - before.time),
        "ray_share_of_a_core": (after.ray - before.ray) / (after.time - before.time),
        "evaluation_share_of_an_epoch": sum(r["eval_seconds"] for r in rows) / sum(map(_busy, rows)),
        "epochs_a_second": len(rows) / (last - first),
    }


def _busy(row: dict[str, Any]) -> float:
    return float(row["train_seconds"] + row["eval_seconds"])


def _pauses(rows: list[dict[str, Any]], concurrency: int) -> dict[str, float]:
    """Median seconds without training or evaluation between two epochs and between two trials of a worker."""
    found: dict[str, list[float]] = {"between_epochs": [], "between_trials": []}
    last: dict[str, float] = {}
    for row in rows:
        begun = row["time"] - _busy(row)
        if row["trial"] in last:
            found["between_epochs"].append(begun - last[row["trial"]])
        elif last and concurrency == 1:  # with more it is not known which worker it was
            found["between_trials"].append(begun - max(last.values()))
        last[row["trial"]] = row["time"]
    return {name: float(np.median(pauses)) for name, pauses in found.items() if pauses}


def _watch(process: "subprocess.Popen[bytes]") -> list[_Spent]:
    """CPU seconds used by a launch, sampled ten times per second until it ends."""
    found = []
    driver = psutil.Process(process.pid)
    used: dict[int, float] = {}
    while process.poll() is None:
        for one in (driver, *driver.children(recursive=True)):
            try:
                if one is driver or not one.cmdline()[0].startswith("ray::"):
                    used[one.pid] = sum(one.cpu_times()[:2])
            except (psutil.Error, IndexError):
                continue  # it has ended
        found.append(_Spent(time.time(), used.get(driver.pid, 0.0), sum(used.values()) - used[driver.pid]))
        time.sleep(0.1)
    return found


def main() -> None:
    """Parses the command line, measures, prints one line per result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        alone: dict[str, float] = {}
        beside: dict[str, float] = {}
        for concurrency, figures in ((1, alone), (2, beside)):
            with tempfile.TemporaryDirectory() as runs:
                figures.update(search(Path(runs), options.trials, options.epochs, concurrency))
        alone["two_at_once"] = beside["epochs_a_second"] / alone["epochs_a_second"]
        for name, value in alone.items():
            found.setdefault(name, []).append(round(value, 4))
        for name, value in beside.items():
            found.setdefault(f"{name}, two at once", []).append(round(value, 4))
    facts = {
        "command": " ".join(["python -m benchmarks.overheads", *sys.argv[1:]]),
        "machine": f"{processor()}, {psutil.cpu_count()} cores",
        "date": f"{datetime.date.today()}",
        "torch": torch.__version__,
    }
    print("; ".join(facts.values()))
    for name, values in found.items():
        print(f"{name}: {np.median(values):.3g} ({min(values):.3g} to {max(values):.3g})")
    if options.json is not None:
        options.json.write_text(json.dumps(facts | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
