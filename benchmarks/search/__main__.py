"""Compares search methods in simulated time, on a table of recorded learning curves.

    python -m benchmarks.search --table benchmarks/tables/digits.csv --json search.json

`benchmarks.record` writes such tables. Each method searches the table `--seeds` times. The result is the
hypervolume of the search, as a fraction of that of all networks in the table, against the number of epochs.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NoReturn

from joblib import cpu_count

from benchmarks.search import summary
from benchmarks.search.methods import SearchError, compare, missing
from benchmarks.search.tables import Table, TableError, load

OBJECTIVES = "natural_accuracy,robust_accuracy,weight_sparsity"
FULL_TRAININGS = 60
FORMATS = (".png", ".svg", ".pdf")


def explanation(table: Table, workers: int, budget: int, seeds: int, share: float) -> str:
    """A description of the simulation, in a few lines."""
    settings, length, last = len(table.settings), table.max_epochs, seeds - 1
    broken = sum(len(setting.curve) < length for setting in table.settings)
    parts = ""
    if share < 1:
        parts = f"""
Each search can use a random fraction {share:.4g} of the settings, the same for all methods with one seed;
the hypervolume is relative to that of these settings."""
    return f"""\
{settings} recorded settings of {length} epochs, {broken} diverged; objectives {", ".join(table.objectives)}.
A search has {workers} workers and {budget} epochs ({budget / length:.4g} full trainings); seeds 0 to {last}.
An epoch takes its recorded time; an epoch that diverges counts too. Instead of the proposal of a sampler, the
nearest unused setting is trained, and the sampler gets its values; methods with random order draw
without replacement. A method that has used all settings stops. Only fully trained networks count. The
reference point of the hypervolume is 0 for fractions that are maximised, and the worst value of the table for
other metrics; the hypervolume of all networks of the table is {table.full_hypervolume:.4f}.{parts}"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message}\n")


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").splitlines()[0]
    parser = _Parser(prog="python -m benchmarks.search", description=about)
    parser.add_argument("--table", type=Path, required=True, help="CSV file of benchmarks.record")
    parser.add_argument("--seeds", default="30", help="searches per method (30)")
    parser.add_argument("--workers", default="4", help="networks that a search trains at the same time (4)")
    parser.add_argument("--budget", help=f"epochs of a search; {FULL_TRAININGS} full trainings if not given")
    parser.add_argument(
        "--objectives", default=OBJECTIVES, help=f"metrics, each NAME or NAME:min ({OBJECTIVES})"
    )
    parser.add_argument(
        "--share", default="1", help="fraction of the settings that a search can use, drawn for each seed (1)"
    )
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument(
        "--plot", type=Path, help="file for the plot (NAME-search.png in the folder of the table)"
    )
    parser.add_argument("--processes", help="searches computed at the same time (number of CPUs)")
    return parser


def _count(name: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    if not text.strip().isdecimal() or int(text) < 1:
        raise TableError(f"--{name} is {text}; a whole number of at least 1 is expected")
    return int(text)


def _share(text: str, table: Table, seeds: int) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise TableError(f"--share is {text}; a number above 0 and at most 1 is expected")
    for seed in range(seeds):
        if table.part(share, seed).full_hypervolume <= 0:
            raise TableError(
                f"--share is {text}, which with seed {seed} leaves no network above the reference point; "
                "a larger share is expected"
            )
    return share


def _check_folder(name: str, file: Path) -> None:
    if not file.parent.is_dir():
        raise TableError(f"--{name} is {file}; its folder must exist")
    if file.is_dir():
        raise TableError(f"--{name} is {file}, which is a folder; a file is expected")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, compares, prints; the exit code: 2 for wrong input, 1 for a failure."""
    options = _parser().parse_args(arguments)
    try:
        seeds, workers = _count("seeds", options.seeds, 30), _count("workers", options.workers, 4)
        processes = _count("processes", options.processes, cpu_count())
        budget = _count("budget", options.budget, 0)
        table = load(options.table, options.objectives.split(","))
        share = _share(options.share, table, seeds)
        plot = options.plot or options.table.with_name(f"{options.table.stem}-search.png")
        if plot.suffix not in FORMATS:
            raise TableError(f"--plot is {plot}; a name that ends in {', '.join(FORMATS)} is expected")
        _check_folder("plot", plot)
        if options.json:
            _check_folder("json", options.json)
    except TableError as error:
        print(error, file=sys.stderr)
        return 2
    budget = budget or FULL_TRAININGS * table.max_epochs
    print(explanation(table, workers, budget, seeds, share), flush=True)
    for package, names in missing().items():
        print(
            f"without {', '.join(names)}: {package} is missing, which pip install 'rtune[peers]' installs",
            file=sys.stderr,
        )
    results, code = [], 0
    try:
        for searches in compare(table, seeds, workers, budget, processes, share):
            if isinstance(searches, SearchError):
                print(f"{searches}; it is left out", file=sys.stderr, flush=True)
                code = 1
                continue
            results.append(searches)
            print(f"{searches.method}: {searches.seconds:.1f} s", file=sys.stderr, flush=True)
    except BrokenProcessPool:
        print("a process was killed, perhaps for memory; fewer --processes need less", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 1
    if not results:
        return code
    print(f"\n{summary.text(results)}")
    try:
        if options.json:
            options.json.write_text(json.dumps(summary.summaries(results), indent=1) + "\n")
        title = f"{options.table.stem}: {', '.join(table.objectives)}; {seeds} seeds, {workers} workers"
        if share < 1:
            title += f", each seed its own {share:.4g} of the settings"
        summary.plot(results, title, plot)
    except OSError as error:
        print(f"{error.filename} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"\nplot: {plot}")
    return code


if __name__ == "__main__":
    sys.exit(main())
