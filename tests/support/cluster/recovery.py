"""How long the trials of a lost machine stand still: from its end to their next epoch elsewhere.

    python -m tests.support.cluster.recovery --repeats 3 --json benchmarks/results/recovery.json

A head and three workers with one core each, as hosts of their own on this machine
(tests/support/cluster/hosts.py; Linux and root). Two trials run, the third worker is free; then one machine
with a trial is switched off, or its cable pulled: no word of it comes any more, and Ray has to conclude
that it is gone.
"""

import argparse
import datetime
import json
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rtune.run.folder import RunFolder
from rtune.run.ledger import Trial, fold
from tests.support.cluster import hosts
from tests.support.cluster.searches import TINY, logged
from tests.support.waiting import wait_for

PATIENCE = 240.0
SIZES = ["--trials", "2", "--max-epochs", "400", "--set", "search.early_stopping=null", "--concurrency", "2"]


def measure(how: str) -> float:
    """Seconds until the trial of a machine that is lost has an epoch more."""
    with tempfile.TemporaryDirectory() as scratch, hosts.network(Path(scratch) / "hosts", 4) as machines:
        head, *workers = machines
        hosts.start_ray(head, head, "--num-cpus=0", "--include-dashboard=false")
        for worker in workers:
            hosts.start_ray(worker, head, "--num-cpus=1")
        run = Path(scratch) / "runs" / "run"
        where = ["--address", "auto", "--name", "run", "--runs", str(run.parent)]
        process = head.start(sys.executable, "-m", "rtune", "search", "digits", *where, *SIZES, *TINY)
        try:
            wait_for(logged(run, 8))
            wait_for(lambda: all(trial.epoch > 1 for trial in _trials(run)))
            lost = next(w for w in workers if any(name.startswith("ray::Implicit") for name in w.names()))
            begun = time.time()
            (lost.kill if how == "switched off" else lost.unplug)()
            wait_for(lambda: any(_after(trial) for trial in _trials(run)), PATIENCE)
            return min(_after(trial) for trial in _trials(run) if _after(trial)) - begun
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _trials(run: Path) -> list[Trial]:
    return list(fold(RunFolder(run).read().records).trials.values())


def _after(trial: Trial) -> float:
    """When a trial that broke had its next epoch; 0 if it has not."""
    if not trial.retries:
        return 0.0
    broke = trial.retries[-1]["time"]
    return float(min((row["time"] for row in trial.epochs if row["time"] > broke), default=0.0))


def main() -> None:
    """Parses the command line, measures, prints a line a way of losing a machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if (lacking := hosts.missing()) is not None:
        parser.error(f"no hosts on this machine: {lacking}")
    found = {how: [measure(how) for _ in range(options.repeats)] for how in ("switched off", "cable pulled")}
    for how, spent in found.items():
        print(f"{how}: {np.median(spent):.1f} s ({min(spent):.1f} to {max(spent):.1f})")
    if options.json is not None:
        about = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "date": f"{datetime.date.today()}",
        }
        seconds = {how: [round(value, 1) for value in spent] for how, spent in found.items()}
        options.json.write_text(json.dumps({**about, "seconds": seconds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
