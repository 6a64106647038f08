"""Measures the throughput of the driver of a search: `python -m benchmarks.scaling --concurrent 1000`.

The trials are simulated, without Ray, and an epoch takes no time, so only the work of the driver is measured:
the search and its log, the study for the dashboard, the progress output and the retention of checkpoints,
over the digits space in a real run folder. At given numbers of started trials each sampler is timed for one
suggestion. With `--ray`, Ray Tune is measured too (`benchmarks.speed.scaling_ray`).
"""

import argparse
import datetime
import heapq
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
from rich.console import Console

import analysis
from benchmarks.resume import figures
from rtune.cluster.journal import OptunaJournal
from rtune.cluster.progress import Progress
from rtune.config import spaces, spec
from rtune.run import summary
from rtune.run.claim import create
from rtune.run.folder import RunFolder
from rtune.run.ledger import Trial, fold
from rtune.run.retention import CheckpointCleaner
from rtune.search import plan
from rtune.search.limits import Limits
from rtune.search.plan import Plan
from rtune.search.state import Search
from rtune.search.suggestions import OptunaSuggester

SAMPLERS = ("random", "nsga2", "tpe", "auto")
# A sampler that takes longer than this for one suggestion (seconds) is not timed again.
_PATIENCE = 20.0


class Costs:
    """Durations in milliseconds of each named operation, in the order of the calls."""

    def __init__(self) -> None:
        self.of: dict[str, list[float]] = {}

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        spent = self.of.setdefault(name, [])

        def timed(*args: Any) -> Any:
            begun = time.perf_counter()
            try:
                return call(*args)
            finally:
                spent.append(1000 * (time.perf_counter() - begun))

        return timed

    def summed_up(self) -> dict[str, dict[str, float]]:
        """For each operation: median, 99th percentile, mean, mean of the last tenth of the calls, count."""
        return {
            name: {
                "median_ms": round(float(np.median(spent)), 4),
                "p99_ms": round(float(np.percentile(spent, 99)), 3),
                "mean_ms": round(float(np.mean(spent)), 4),
                "last_tenth_mean_ms": round(float(np.mean(spent[-max(1, len(spent) // 10) :])), 4),
                "count": len(spent),
            }
            for name, spent in self.of.items()
        }


def drive(
    trials: int, concurrent: int, stations: Sequence[int], repeats: int, samplers: Sequence[str] = SAMPLERS
) -> dict[str, Any]:
    """Runs a complete search of simulated trials; returns the costs, as written by `--json`.

    Args:
        trials: number of trials of the search.
        concurrent: number of trials that run at the same time.
        stations: numbers of started trials at which the samplers are timed.
        repeats: suggestions of each sampler at each of these numbers.
        samplers: names of the samplers.
    """
    search_spec = spec.load(spaces.find("digits"), [("points", []), ("search.sampler", "random")])
    limits = Limits.of(search_spec.search, trials, search_spec.max_epochs)
    planned = plan.of_spec(search_spec, trials)
    begin = plan.launch_record(search_spec, planned, limits, concurrent, "", (1, 1), "search")
    costs, process = Costs(), psutil.Process()
    found: dict[str, Any] = {"trials": trials, "concurrent": concurrent, "suggestions": {}}
    found["megabytes_before"] = round(process.memory_info().rss / 1e6)
    with tempfile.TemporaryDirectory() as scratch, open(os.devnull, "w", encoding="utf-8") as nowhere:
        folder = create(scratch, "large", search_spec, {})
        progress = Progress(Console(file=nowhere))
        with folder.launch() as writer:
            writer.append(begin)
            search = Search(planned, [begin], costs.timed("log", writer.append))
            search.watch(costs.timed("study", OptunaJournal(folder.place.local, planned, []).add))
            with progress.showing(search, concurrent), CheckpointCleaner(folder) as cleaner:
                search.watch(costs.timed("retention", cleaner.take))
                asked = _Stations(search, list(stations), repeats, samplers, found["suggestions"])
                _run(search, progress, concurrent, costs, asked.pass_by)
        found["megabytes"] = round(process.memory_info().rss / 1e6)
        found |= {"epochs": len(costs.of["report"]), "costs": costs.summed_up()}
        found |= _read_back(folder, planned)
    return found


class _Stations:
    """Times the samplers at given numbers of started trials; this time is not a cost of the search."""

    def __init__(
        self,
        search: Search,
        left: list[int],
        repeats: int,
        samplers: Sequence[str],
        found: dict[str, Any],
    ) -> None:
        self._search, self._left, self._repeats = search, left, repeats
        self._samplers, self._found = list(samplers), found

    def pass_by(self) -> None:
        known = list(self._search.ledger.trials.values())
        if not self._left or len(known) < self._left[0]:
            return
        at = self._found[str(self._left.pop(0))] = {}
        at["status"] = summary.counts(self._search.ledger, len(known))
        for name in list(self._samplers):
            at[name] = []
            for seed in range(self._repeats):
                asked = self._search.plan.sampled_by(name, seed)
                at[name].append(round(_suggestion(asked, known), 5))
                if at[name][-1] > _PATIENCE:
                    self._samplers.remove(name)
                    break


def _suggestion(planned: Plan, known: list[Trial]) -> float:
    begun = time.perf_counter()
    OptunaSuggester(planned).suggest(known, {})
    return time.perf_counter() - begun


def _run(
    search: Search, progress: Progress, concurrent: int, costs: Costs, pass_by: Callable[[], None]
) -> None:
    """Runs the search with workers whose epochs take about a second of simulated time."""
    rng = np.random.default_rng(0)
    level: dict[str, np.ndarray] = {}
    events: list[tuple[float, int, str]] = []
    suggest, report = costs.timed("next_trial", search.next_trial), costs.timed("report", search.report)
    change = costs.timed("progress", progress.on_change)
    now, order = 0.0, 0

    def train(name: str) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (now + rng.uniform(0.8, 1.2), order, name))

    while True:
        while len(events) < concurrent and (trial := suggest()) is not None:
            level.setdefault(trial.id, rng.random(3))
            train(trial.id)
            pass_by()
        if not events:
            return
        now, _, name = heapq.heappop(events)
        epoch = search.ledger.trials[name].epoch + 1
        goes_on = report(name, epoch, figures(level[name], epoch / search.plan.max_epochs))
        change(name)
        if goes_on:
            train(name)


def _read_back(folder: RunFolder, planned: Plan) -> dict[str, Any]:
    """Sizes of the files in the folder, and seconds of the operations that read the log."""
    files = folder.place.files()
    log = sum(size for path, size in files.items() if path.startswith("results/"))
    costs = Costs()
    records = costs.timed("read the log", folder.read)().records
    ledger = costs.timed("fold the log", fold)(records)
    costs.timed("rebuild the search", Search)(planned, records, lambda record: None)
    costs.timed("hypervolume", summary.run_hypervolume)(ledger, planned.objectives)
    costs.timed("table of results", analysis.load)(folder)
    epochs = sum(trial.epoch for trial in ledger.trials.values())
    return {
        "log_bytes": log,
        "log_bytes_per_epoch": round(log / epochs),
        "log_bytes_per_trial": round(log / len(ledger.trials)),
        "study_bytes": files["optuna.journal"],
        "reading_seconds": {name: round(spent[0] / 1000, 3) for name, spent in costs.of.items()},
    }


def _print(found: dict[str, Any]) -> None:
    print(f"\n{found['trials']:,} trials, {found['concurrent']:,} at once: {found['epochs']:,} epochs")
    for name, cost in found["costs"].items():
        print(
            f"  {name:12} median {cost['median_ms']:8.3f} ms, 99 % below {cost['p99_ms']:8.2f}, mean "
            f"{cost['mean_ms']:7.3f}, of the last tenth {cost['last_tenth_mean_ms']:7.3f} "
            f"({cost['count']:,} times)"
        )
    print(f"  memory: {found['megabytes_before']} MB before, {found['megabytes']} MB at the end")
    print(
        f"  log: {found['log_bytes'] / 1e6:.1f} MB, {found['log_bytes_per_epoch']} bytes an epoch, "
        f"{found['log_bytes_per_trial']} a trial; study {found['study_bytes'] / 1e6:.1f} MB"
    )
    print("  seconds: " + ", ".join(f"{k} {v:.2f}" for k, v in found["reading_seconds"].items()))
    for begun, at in found["suggestions"].items():
        medians = ", ".join(f"{n} {np.median(v):.3g}" for n, v in at.items() if n != "status")
        print(f"  seconds of a suggestion with {begun} trials begun: {medians}")


def main() -> None:
    """Parses the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--concurrent", type=int, default=1000)
    parser.add_argument(
        "--stations", type=int, nargs="*", default=[100, 300, 1000, 3000, 10_000], help="trials started"
    )
    parser.add_argument("--repeats", type=int, default=3, help="suggestions of each sampler per station")
    parser.add_argument("--samplers", nargs="*", default=SAMPLERS, help="gp takes minutes per suggestion")
    parser.add_argument(
        "--ray", type=int, nargs="*", default=[], metavar="N", help="also measure Ray Tune with N workers"
    )
    parser.add_argument("--ray-trials", type=int, default=600)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    # GP prints a warning for each parameter that it ignores.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    facts: dict[str, Any] = {"machine": machine, "date": f"{datetime.date.today()}", "ray": []}
    print(f"{machine}, {datetime.date.today()}")
    stations = [n for n in options.stations if n <= options.trials]
    facts["driver"] = drive(options.trials, options.concurrent, stations, options.repeats, options.samplers)
    _print(facts["driver"])
    for workers in options.ray:
        from benchmarks.speed import scaling_ray

        found = scaling_ray.measure(workers, options.ray_trials)
        facts["ray"].append(found)
        print(json.dumps(found))
    if options.json is not None:
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
