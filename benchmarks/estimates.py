"""Compares the epochs that a dry run estimates with those of simulated searches.

    python -m benchmarks.estimates

Prints a line for each table and number of trials and workers: the epochs of rtune's search on the table, over
several seeds, and the estimate of `rtune.dryrun.estimate`, which does not use the table.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.search import tables
from benchmarks.search.ours import Rtune
from benchmarks.search.simulation import simulate
from benchmarks.search.tables import Table
from rtune.dryrun import estimate

TABLES = {
    "digits": ["natural_accuracy", "robust_accuracy", "weight_sparsity"],
    "digits-channels": ["natural_accuracy", "robust_accuracy", "channel_sparsity"],
}


def recorded(table: Table, trials: int, workers: int, seed: int, sampler: str = "auto") -> Rtune:
    """A complete search on a table."""
    method = Rtune(table, seed, trials, sampler=sampler)
    simulate(table, method, workers, budget=trials * table.max_epochs)
    return method


def epochs(method: Rtune) -> int:
    """Number of epochs that a search has trained, including those in which a trial diverged."""
    return sum(trial.ended_epoch or trial.epoch for trial in method.search.ledger.trials.values())


def main() -> None:
    """Parses the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, nargs="+", default=[18, 64, 200])
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 16])
    options = parser.parse_args()
    print(
        "table, trials, workers: epochs without early stopping; recorded, median (range); expected; "
        "error of the median"
    )
    errors = []
    for name, objectives in TABLES.items():
        table = tables.load(Path(__file__).parent / "tables" / f"{name}.csv", objectives)
        for trials in options.trials:
            for workers in options.workers:
                methods = [recorded(table, trials, workers, seed) for seed in range(options.seeds)]
                found = [epochs(method) for method in methods]
                simulated = estimate.searches(methods[0].search.plan, workers)
                expected = [s.epochs for s in simulated]
                errors.append(float(np.median(expected) / np.median(found) - 1))
                print(
                    f"{name}, {trials}, {workers}: {trials * table.max_epochs:,}; {_span(found)}; "
                    f"{_span(expected)}; {100 * errors[-1]:+.1f} %",
                    flush=True,
                )
    print(f"error: {100 * min(errors):+.1f} to {100 * max(errors):+.1f} %")


def _span(values: list[int]) -> str:
    return f"{np.median(values):,.0f} ({min(values):,} to {max(values):,})"


if __name__ == "__main__":
    main()
