"""Measures the time of a decision of early stopping with many trials at a rung.

    python -m benchmarks.decisions --trials 10000

A worker waits for this decision at a rung: the trial is recorded and ranked among all others, and the waiting
trials that are promoted are selected.
"""

import argparse
import time

import numpy as np

from rtune.search.halving import ParetoHalving


def measure(trials: int, objectives: int, decisions: int, seed: int = 0) -> np.ndarray:
    """(decisions,) milliseconds, each with `trials` trials or a few more at the rung."""
    rng = np.random.default_rng(seed)
    halving = ParetoHalving([1], 3)
    spent = []
    for i in range(trials + decisions):
        # Accuracies of a few hundred images repeat, sparsities do not.
        point = np.round(rng.random(objectives), 2)
        point[-1] = rng.random()
        start = time.perf_counter()
        halving.report(f"t{i}", 1, list(point))
        promoted = halving.promotable()
        spent.append(time.perf_counter() - start)
        if promoted is not None:
            halving.promote(promoted)
    return 1000 * np.array(spent[trials:])


def main() -> None:
    """Parses the command line, measures, prints a line for each number of objectives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--decisions", type=int, default=500)
    options = parser.parse_args()
    print(f"milliseconds of a decision with {options.trials:,} trials at the rung, over {options.decisions}")
    for objectives in (2, 3):
        spent = measure(options.trials, objectives, options.decisions)
        median, high, highest = np.percentile(spent, [50, 95, 100])
        print(
            f"{objectives} objectives: mean {spent.mean():.2f}, median {median:.2f}, "
            f"95 % below {high:.2f}, highest {highest:.2f}"
        )


if __name__ == "__main__":
    main()
