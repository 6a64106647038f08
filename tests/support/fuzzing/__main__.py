"""Thousands of changed search files, options and logs: `python -m tests.support.fuzzing --examples 10000`."""

import argparse
import time

from tests.support.fuzzing import campaign


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    begun = time.perf_counter()
    for name, count, accepted in campaign.run(asked.examples, asked.seed):
        print(f"{name}: {count} examples, of which {accepted} were accepted")
    print(f"seed {asked.seed}, {time.perf_counter() - begun:.0f} seconds")


if __name__ == "__main__":
    _main()
