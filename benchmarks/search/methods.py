"""The methods that `benchmarks.search` compares, and their searches in parallel processes.

This is a separate module because objects of the main module cannot be sent to other processes.
"""

import importlib.util
import os
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from joblib import Parallel, delayed, parallel_config

from benchmarks.search import peers
from benchmarks.search.ours import Rtune
from benchmarks.search.simulation import Method, simulate
from benchmarks.search.summary import OURS, Searches
from benchmarks.search.tables import Table


class SearchError(Exception):
    """A method failed; the message contains its name and the error."""


def makers(table: Table, budget: int) -> dict[str, Callable[[int], Method]]:
    """Name -> function that creates a method from a seed: peers with installed packages, and rtune last.

    Args:
        table: the recorded settings.
        budget: number of epochs of the search.
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
    """One simulated search in a random part of the table, which depends on the seed.

    Returns:
        (budget,), the fraction of the hypervolume of this part after each epoch; and the seconds of
        computing.

    Raises:
        SearchError: the method failed.
    """
    start = time.perf_counter()
    table = table.part(share, seed)
    try:
        reached = simulate(table, makers(table, budget)[name](seed), workers, budget)
    except Exception as error:
        # Add the name of the method to errors of other packages.
        raise SearchError(f"{name} failed with seed {seed}: {type(error).__name__}: {error}") from error
    return reached / table.full_hypervolume, time.perf_counter() - start


def _tried(*arguments: Any) -> tuple[np.ndarray, float] | SearchError:
    """`one`, but returns the error, so that the other methods continue."""
    try:
        return one(*arguments)
    except SearchError as error:
        return error


def compare(
    table: Table, seeds: int, workers: int, budget: int, processes: int, share: float = 1.0
) -> Iterator[Searches | SearchError]:
    """Simulates the searches of every method in parallel processes; yields each result or error.

    Args:
        table: the recorded settings.
        seeds: number of searches of each method, with seeds 0, 1, ...
        workers: number of networks that a search trains at the same time.
        budget: number of epochs of a search.
        processes: number of searches that are computed at the same time, with one thread each.
        share: fraction of the settings that each search can use, in (0, 1].
    """
    names = list(makers(table, budget))
    jobs = (
        delayed(_tried)(table, name, seed, workers, budget, share) for name in names for seed in range(seeds)
    )
    # SMAC's proposals depend on the order of sets of strings, and so on the hash seed of the process. With
    # one process this is the current process, whose hash seed is already fixed.
    os.environ.setdefault("PYTHONHASHSEED", "0")
    # joblib replaces processes whose memory has grown; the warning needs no action.
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
    with parallel_config("loky", n_jobs=processes, inner_max_num_threads=1):
        results = Parallel(return_as="generator")(jobs)
        for name in names:
            done = [next(results) for _ in range(seeds)]
            failed = next((found for found in done if isinstance(found, SearchError)), None)
            whole = [found for found in done if not isinstance(found, SearchError)]
            yield failed or Searches(name, np.array([s for s, _ in whole]), sum(s for _, s in whole))
