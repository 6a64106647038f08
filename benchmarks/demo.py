"""Runs the demo with several seeds: `python -m benchmarks.demo --seeds 3`.

Runs `rtune search digits` for each seed, one after the other, and prints the time and the front of each run.
`--json FILE` writes the results with the machine and the date.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import analysis


def run(seed: int, folder: Path) -> dict[str, Any]:
    """Runs the demo once; returns its results."""
    name = f"demo-{seed}"
    start = time.perf_counter()
    command = [sys.executable, "-m", "rtune", "search", "digits", "--seed", str(seed), "--name", name]
    subprocess.run([*command, "--runs", str(folder)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    rows = analysis.load(folder / name)
    networks = analysis.networks(rows)
    objectives = ["natural_accuracy", "robust_accuracy", "channel_sparsity"]
    front = analysis.front(networks, objectives)
    best = networks["robust_accuracy"].max()
    sparse = front[front["weight_sparsity"] > 0.8]["robust_accuracy"].max()
    working = front[(front["channel_sparsity"] > 0.3) & (front["robust_accuracy"] > best - 0.1)]
    return {
        "seed": seed,
        "seconds": round(seconds, 1),
        "trials": len(networks),
        "epochs": len(rows),
        "hypervolume": round(analysis.hypervolume(networks[objectives].to_numpy(float)), 4),
        "best_robust_accuracy": round(float(best), 4),
        # In points of robust accuracy, against the best network of the whole run.
        "points_behind_above_80_percent_weight_sparsity": round(float(100 * (best - sparse)), 2),
        "front": len(front),
        "front_above_30_percent_channel_sparsity_within_10_points": len(working),
    }


def main() -> None:
    """Parses the command line, runs, prints a line for each seed, and the median with its range."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            results.append(run(seed, Path(folder)))
            print(json.dumps(results[-1]), flush=True)
    summary = {
        key: {"median": float(np.median(values)), "min": min(values), "max": max(values)}
        for key in results[0]
        if key != "seed" and (values := [result[key] for result in results])
    }
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    facts = {
        "date": f"{datetime.date.today()}",
        "machine": machine,
        "command": f"python -m benchmarks.demo --seeds {options.seeds}",
    }
    print(json.dumps(summary, indent=1))
    if options.json:
        options.json.write_text(json.dumps({**facts, "summary": summary, "seeds": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
