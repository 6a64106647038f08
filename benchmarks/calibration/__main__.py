"""Measures how often the statements of a report hold, in simulated searches with a known truth.

    python -m benchmarks.calibration --searches 200

The searches (`simulator.py`) differ in size, in how often networks fail on the same images, and in how far
the true accuracies are apart. `measures.py` compares what is said with the truth.
"""

import argparse
from itertools import product

from benchmarks.calibration import measures
from benchmarks.calibration.simulator import World

SIZES = ((20, 90), (60, 90), (60, 360), (200, 360))
SHARED = (0.0, 0.5, 0.95)
# Spread of the true accuracies of equally sparse networks, and what sparsity costs.
TRUTHS = ((0.0, 0.0), (0.01, 0.1), (0.05, 0.2))
KINDS = ((6, 6), (12, 12), (40, 40), (100, 100), (6, 60), (12, 40), (20, 120), (40, 400))
RUNS = (4, 6)


def main() -> None:
    """Parses the command line and prints the tables."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.calibration", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--searches", type=int, default=200, help="simulated for each row")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    columns = ("members", "true", "clear", "wrong", "any", "one", "chosen", "optimism", "gap")
    _line("networks", "images", "shared", "spread", "price", *columns)
    for (networks, images), shared, (spread, price) in product(SIZES, SHARED, TRUTHS):
        world = World(networks, images, shared, spread, price=price)
        found = measures.of_front(world, asked.searches, asked.seed)
        figures = [f"{found[name]:.4f}" if name == "optimism" else f"{found[name]:.3f}" for name in columns]
        _line(networks, images, shared, spread, price, *figures)
    _line("networks of two kinds", "spread", "at equal sparsity", "ratio", "p of volumes", "p of epsilons")
    for sizes, spread in product(KINDS, (0.02, 0.1)):
        world = World(0, 360, 0.5, spread)
        equal = measures.of_kinds(sizes, world, asked.searches, asked.seed)
        both = measures.of_fronts(sizes, world, asked.searches, asked.seed)
        _line(f"{sizes[0]} and {sizes[1]}", spread, *(f"{v:.3f}" for v in (equal, *both.values())))
    _line("runs a side", "p of attainment")
    for runs in RUNS:
        share = measures.of_attainment(runs, World(12, 360, 0.5), asked.searches, asked.seed)
        _line(runs, f"{share:.3f}")


def _line(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
