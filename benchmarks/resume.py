"""Measures the cost of resuming a large run: `python -m benchmarks.resume --trials 1000`.

Writes the run folder of a search in which all trials but one have ended (synthetic metrics, no training),
then resumes it for a few more trials on a real Ray cluster, several times. Prints the time from the start of
Ray to the start of the first trial, the driver's time for a row of the log, and the time between two trials
of a worker.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from rtune.cli.actions import launches
from rtune.cluster import connection
from rtune.cluster.journal import OptunaJournal
from rtune.config import spaces, spec
from rtune.run import schema
from rtune.run.claim import create
from rtune.run.folder import RunFolder
from rtune.run.log import Writer
from rtune.search import plan
from rtune.search.limits import Limits
from rtune.search.state import Search
from rtune.worker import build

_TINY = {"model.width": 2, "attack.steps": 1, "evaluation.steps": 1, "training.batch_size": 256}


def make(runs: Path, trials: int, more: int) -> tuple[RunFolder, dict[str, list[float]]]:
    """Writes a run whose last trial is unfinished; returns it and the milliseconds of each row of its log.

    Args:
        runs: the folder for the run folder.
        trials: number of trials that have started.
        more: number of trials that a resume still has to start.
    """
    overrides = [*_TINY.items(), ("points", []), ("search.sampler", "random")]
    search_spec = spec.load(spaces.find("digits"), overrides)
    folder = create(runs, "large", search_spec, {})
    limits = Limits.of(search_spec.search, trials + more, search_spec.max_epochs)
    planned = plan.of_spec(search_spec, limits.trials)
    data = build.fingerprint(search_spec.file.data, search_spec.search.seed)
    begin = plan.launch_record(
        search_spec,
        planned,
        limits,
        2,
        data,
        build.images(search_spec.file.data, search_spec.search.seed),
        "search",
    )
    rng = np.random.default_rng(0)
    costs: dict[str, list[float]] = {"append": [], "report": []}
    with folder.launch() as writer:
        writer.append(begin)
        search = Search(planned, [begin], timed(writer, costs["append"]))
        # All trials get the same values: a thousand suggestions take minutes, and the values do not matter.
        suggested = search.suggester.suggest([], {})
        search.suggester.suggest = lambda known, point: suggested  # type: ignore[method-assign]
        search.watch(OptunaJournal(folder.place.local, planned, []).add)
        while len(search.ledger.trials) < trials:
            trial = search.next_trial()
            assert trial is not None
            level = rng.random(3)
            go_on = len(search.ledger.trials) < trials
            while go_on:
                epoch = search.ledger.trials[trial.id].epoch + 1
                begun = time.perf_counter()
                go_on = search.report(trial.id, epoch, figures(level, epoch / search_spec.max_epochs))
                costs["report"].append(1000 * (time.perf_counter() - begun))
    return folder, costs


def timed(writer: Writer, costs: list[float]) -> Any:
    def append(record: dict[str, Any]) -> None:
        begun = time.perf_counter()
        writer.append(record)
        costs.append(1000 * (time.perf_counter() - begun))

    return append


def figures(level: np.ndarray, share: float) -> dict[str, Any]:
    """Synthetic metrics of a network after the fraction `share` of its epochs."""
    natural, robust, sparse = (float(v) for v in level * share**0.3)
    known = {"natural_accuracy": natural, "robust_accuracy": natural * robust, "channel_sparsity": sparse}
    return {name: known.get(name, 0.5) for name in schema.epoch()} | {
        "macs": 1,
        "parameters": 1,
        "images": 100,
    }


def resume(folder: RunFolder) -> tuple[float, float]:
    """Seconds from the start of Ray to the start of the first trial, and between two trials of a worker."""
    up: list[float] = []
    plain = connection.connect

    @contextlib.contextmanager
    def cluster(address: str | None) -> Iterator[None]:
        with plain(address):
            up.append(time.time())
            yield

    before = len(folder.read().records)
    # Note the time at which Ray is ready.
    with mock.patch.object(connection, "connect", cluster):
        assert launches.resume(str(folder.place), "runs", None, {"concurrency": 1}) == 0
    new = [r for r in folder.read().records[before:] if r["kind"] == "epoch"]
    began = [r["time"] - r["train_seconds"] - r["eval_seconds"] for r in new]
    # Time from the last row of a trial to the start of the first epoch of the next trial.
    pauses = [b - a["time"] for a, b, r in zip(new, began[1:], new[1:], strict=False) if r["epoch"] == 1]
    return began[0] - up[0], float(np.median(pauses))


def main() -> None:
    """Parses the command line, measures, prints one line per result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--more", type=int, default=8, help="short trials to run after the resume")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, list[float]] = {
        name: [] for name in ("first_trial_seconds", "between_trials_seconds", "append_ms", "report_ms")
    }
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as scratch:
            folder, costs = make(Path(scratch), options.trials, options.more)
            first, pause = resume(folder)
        medians = (first, pause, float(np.median(costs["append"])), float(np.median(costs["report"])))
        for spent, value in zip(found.values(), medians, strict=True):
            spent.append(round(value, 4))
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(f"{options.trials} trials, {machine}, {options.repeats} times: median (lowest to highest)")
    for name, spent in found.items():
        print(f"{name}: {np.median(spent):.3g} ({min(spent):.3g} to {max(spent):.3g})")
    if options.json is not None:
        facts = {"machine": machine, "date": f"{datetime.date.today()}", "trials": options.trials}
        options.json.write_text(json.dumps(facts | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
