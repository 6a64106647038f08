"""Measures how much a search loses with fewer validation images before the last epoch of a trial.

    python -m benchmarks.fidelity --table benchmarks/tables/digits.csv --images 360

rtune's search in simulated time gets accuracies on a part of the validation images: between rungs, or at
rungs too. The accuracy on m of n images is drawn for each epoch from the hypergeometric distribution of the
recorded accuracy. In reality all trials are evaluated on the same images, and an error that is common to all
changes no rank, so this simulation is pessimistic. The resulting fronts are evaluated with the recorded
accuracies.
"""

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from joblib import Parallel, delayed

from benchmarks.search.ours import DEFAULT, Rtune
from benchmarks.search.simulation import simulate
from benchmarks.search.summary import OURS, Searches
from benchmarks.search.tables import Table, load
from benchmarks.speed.processor import processor

_ACCURACIES = ("natural_accuracy", "robust_accuracy")


class Sampled(Rtune):
    """rtune's search, with accuracies measured on fewer images.

    Args:
        table, seed: as for `Rtune`.
        images: number of validation images on which the accuracies of the table were measured.
        between, rungs: fraction of these images, in (0, 1], that is used between rungs, and at rungs.
    """

    def __init__(self, table: Table, seed: int, images: int, between: float, rungs: float) -> None:
        super().__init__(table, seed)
        self._rng = np.random.default_rng(seed)
        self._images = images
        self._shares = dict.fromkeys(range(1, table.max_epochs), between)
        self._shares |= dict.fromkeys(DEFAULT.levels(table.max_epochs), rungs)
        self._columns = [table.objectives.index(name) for name in _ACCURACIES if name in table.objectives]

    def report(self, trial: str, epoch: int, point: np.ndarray) -> bool:
        seen = point.copy()
        share = self._shares.get(epoch, 1.0)
        if share < 1:
            right = np.rint(point[self._columns] * self._images).astype(int)
            taken = max(1, round(share * self._images))
            seen[self._columns] = self._rng.hypergeometric(right, self._images - right, taken) / taken
        return super().report(trial, epoch, seen)


def searches(table: Table, seeds: int, images: int, between: float, rungs: float) -> Searches:
    """Simulated searches with four workers and the epochs of 60 full trainings."""
    budget = 60 * table.max_epochs

    def one(seed: int) -> np.ndarray:
        return simulate(table, Sampled(table, seed, images, between, rungs), 4, budget)

    found = Parallel(n_jobs=psutil.cpu_count())(delayed(one)(seed) for seed in range(seeds))
    return Searches(OURS, np.array(found) / table.full_hypervolume, 0.0)


def main() -> None:
    """Parses the command line, simulates, prints a line for each pair of shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--objectives", default="natural_accuracy,robust_accuracy,weight_sparsity")
    parser.add_argument(
        "--images", type=int, required=True, help="validation images of the table's accuracies"
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.25, 0.125])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    table = load(options.table, options.objectives.split(","))
    found: list[dict[str, Any]] = []
    print(
        "fraction of the images between rungs, at rungs: epochs to 95 %, hypervolume at the end, "
        "median [quartiles]"
    )
    for between, rungs in [(1.0, 1.0), *((s, t) for s in options.shares for t in (1.0, s))]:
        figures = searches(table, options.seeds, options.images, between, rungs).summary()
        found.append({"between": between, "rungs": rungs} | figures)
        print(
            f"{between:.3g}, {rungs:.3g}: {figures['epochs_to_95']} {figures['epochs_to_95_quartiles']}, "
            f"{figures['final_hypervolume']} {figures['final_hypervolume_quartiles']}",
            flush=True,
        )
    if options.json is not None:
        facts = {
            "command": " ".join(["python -m benchmarks.fidelity", *sys.argv[1:]]),
            "machine": f"{processor()}, {psutil.cpu_count()} cores",
            "date": f"{datetime.date.today()}",
        }
        options.json.write_text(json.dumps(facts | {"rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
