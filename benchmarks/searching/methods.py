"""The methods that `benchmarks.search` compares, and their searches, spread over processes.

Apart from the command: what other processes are sent must not be of the module that runs as the program.
"""

import importlib.util
import os
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from joblib import Parallel, delayed, parallel_config

from benchmarks.searching import peers
from benchmarks.searching.ours import Rtune
from benchmarks.searching.simulation import Method, simulate
from benchmarks.searching.summary import OURS, Searches
from benchmarks.searching.tables import Table


class SearchError(Exception):
    """A method failed; the message says which and how."""


def makers(table: Table, budget: int) -> dict[str, Callable[[int], Method]]:
    """Name -> maker of a method from a seed: the peers whose packages are installed, and rtune last.

    Args:
        table: the recorded settings.
        budget: epochs that the search will spend.
    """
    absent = {name for names in missing().values() for name in names}
    found = {name: make for name, make in peers.methods(table, budget).items() if name not in absent}
    return found | {OURS: lambda seed: Rtune(table, seed)}


def missing() -> dict[str, tuple[str, ...]]:
    """Package that is not installed -> the methods that need it."""
    return {p: names for p, names in peers.PACKAGES.items() if importlib.util.find_spec(p) is None}


def one(
    table: Table, name: str, seed: int, workers: int, budget: int, share: float = 1.0
) -> tuple[np.ndarray, float]:
    """One simulated search of a random share of the table, which the seed decides.

    Returns:
        (budget,), the share of the table's hypervolume after each epoch spent; and the seconds it took.

    Raises:
        SearchError: the method failed.
    """
    start = time.perf_counter()
    table = table.part(share, seed)
    try:
        reached = simulate(table, makers(table, budget)[name](seed), workers, budget)
    except Exception as error:
        # Methods are other people's code: which one it was must not get lost.
        raise SearchError(f"{name} failed with seed {seed}: {type(error).__name__}: {error}") from error
    return reached / table.full_hypervolume, time.perf_counter() - start


def _tried(*arguments: Any) -> tuple[np.ndarray, float] | SearchError:
    """`one`, its failure as a result: one method's must not cost the others'."""
    try:
        return one(*arguments)
    except SearchError as error:
        return error


def compare(
    table: Table, seeds: int, workers: int, budget: int, processes: int, share: float = 1.0
) -> Iterator[Searches | SearchError]:
    """Simulates every method's searches, spread over processes; yields each when done, or why it failed.

    Args:
        table: the recorded settings.
        seeds: searches a method, with the seeds 0, 1, ...
        workers: networks that a search trains at once.
        budget: epochs that a search spends.
        processes: how many searches are computed at once, each on one thread.
        share: of the settings that each search has, in (0, 1].
    """
    names = list(makers(table, budget))
    jobs = (
        delayed(_tried)(table, name, seed, workers, budget, share) for name in names for seed in range(seeds)
    )
    # SMAC's proposals depend on the order of sets of texts, so on the hash seed of the process that makes
    # them; with one process that is this one, whose seed is set already.
    os.environ.setdefault("PYTHONHASHSEED", "0")
    # Processes that have grown are replaced, which is no news to anybody.
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
    with parallel_config("loky", n_jobs=processes, inner_max_num_threads=1):
        results = Parallel(return_as="generator")(jobs)
        for name in names:
            done = [next(results) for _ in range(seeds)]
            failed = next((found for found in done if isinstance(found, SearchError)), None)
            whole = [found for found in done if not isinstance(found, SearchError)]
            yield failed or Searches(name, np.array([s for s, _ in whole]), sum(s for _, s in whole))
