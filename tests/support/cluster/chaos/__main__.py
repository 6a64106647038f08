"""The command line; see the package."""

import argparse
import datetime
import json
import math
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.support.cluster.chaos.everywhere import chaos, table
from tests.support.cluster.chaos.faults import KINDS


def main() -> int:
    """Parses the command line, disturbs, prints the table; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.cluster.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="of faults, about; 8 if --faults is not given")
    parser.add_argument("--faults", type=int, help="how many; as many as the minutes allow if not given")
    parser.add_argument("--kinds", default=",".join(KINDS), help="separated by commas (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"--kinds has {unknown[0]!r}; kinds are {', '.join(KINDS)}")
    minutes = options.minutes or (math.inf if options.faults else 8)
    folder, begun = Path(tempfile.mkdtemp(prefix="rtune-chaos-")), time.monotonic()
    figures = chaos(folder, options.seed, options.faults or 10**6, minutes * 60, kinds)
    took = round((time.monotonic() - begun) / 60, 1)
    print(table(figures))
    print(
        f"{figures.searches} searches, {figures.launches} launches, {took} minutes, {figures.rows} rows, "
        f"{figures.epochs_again} epochs begun again, {figures.compared} tables equal to those of the same "
        f"search left alone, {len(figures.problems)} problems"
    )
    if options.json is not None:
        about = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "date": f"{datetime.date.today()}",
            "seed": options.seed,
            "minutes": took,
        }
        options.json.write_text(json.dumps({**about, **asdict(figures)}, indent=1) + "\n")
    if not figures.problems:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    print("\n".join(figures.problems), f"kept in {folder}", sep="\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
