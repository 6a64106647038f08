"""Measures the driver with Ray Tune and many workers that train nothing; called by `benchmarks.scaling`.

This is a real launch of a search, on a local Ray cluster that is configured with as many cores as workers.
The workers only report, so the driver is always busy. The workers share the cores of the machine with the
driver, which reduces the number of reports per second; the CPU time of the driver per report is not affected.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
from ray import cloudpickle, tune
from rich.console import Console

from rtune.cluster import connection, launch, resources, tune_adapter
from rtune.cluster.interrupt import Interrupt
from rtune.cluster.progress import Progress
from rtune.config import spaces, spec
from rtune.run import schema
from rtune.run.claim import create
from rtune.search.limits import Limits
from rtune.search.state import Search
from rtune.worker import messages, trainable
from rtune.worker.task import Task

_PLAIN = dict.fromkeys(schema.epoch(), 0.5) | {"macs": 1, "parameters": 1, "images": 100}
# Number of first reports that are not counted: the first reports of all workers arrive at the same time.
_SETTLED = 100


def measure(workers: int, trials: int) -> dict[str, Any]:
    """Runs a launch and summarises the cost of a report for the driver.

    Args:
        workers: number of trials that run at the same time.
        trials: number of trials of the search.

    Returns:
        Measured after all workers have started: reports per second, CPU milliseconds of the driver per report
        (both in total and in the first and the last quarter), and wall milliseconds per report in rtune's own
        code; memory of the driver, and the memory of a worker (without torch) that it shares with no other
        process.
    """
    import benchmarks.speed.scaling_ray as module

    cloudpickle.register_pickle_by_value(module)  # so that workers need not import it
    search_spec = spec.load(spaces.find("digits"), [("points", []), ("search.sampler", "random")])
    limits = Limits.of(search_spec.search, trials, search_spec.max_epochs)
    room = resources.Room([{"CPU": workers, "GPU": 0}], here=True)
    seen: list[tuple[float, float]] = []
    megabytes: list[float] = []
    own: list[float] = []

    def run(config: dict[str, Any], data: Any) -> None:
        report_only(Task.from_config(config), workers)

    with (
        tempfile.TemporaryDirectory() as scratch,
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        mock.patch.object(resources, "local", return_value=room),
        mock.patch.object(trainable, "run", run),
        _timed(Search, "report", own),
        _timed(Search, "next_trial", own),
        _timed(Progress, "on_change", own),
        _watched(seen, megabytes),
        connection.connect(None),
        Interrupt() as interrupt,
    ):
        folder = create(scratch, "ray", search_spec, {})
        launch.launch(folder, limits, workers, "", Progress(Console(file=nowhere)), interrupt)
    steady = np.array(seen[_SETTLED:])
    quarter = len(steady) // 4
    return {
        "workers": workers,
        "trials": trials,
        "reports": len(steady),
        "reports_per_second": round(_rate(steady[:, 0]), 1),
        "first_quarter_per_second": round(_rate(steady[:quarter, 0]), 1),
        "last_quarter_per_second": round(_rate(steady[-quarter:, 0]), 1),
        "driver_cpu_ms_per_report": round(1000 / _rate(steady[:, 1]), 2),
        "first_quarter_cpu_ms": round(1000 / _rate(steady[:quarter, 1]), 2),
        "last_quarter_cpu_ms": round(1000 / _rate(steady[-quarter:, 1]), 2),
        "own_ms_per_report": round(1000 * sum(own) / len(seen), 3),
        "driver_megabytes": round(psutil.Process().memory_info().rss / 1e6),
        "worker_megabytes": round(megabytes[0]),
    }


def report_only(task: Task, workers: int) -> None:
    """Waits until all workers have started, then reports without training; replaces `trainable.run`."""
    up = Path(task.folder).parents[1] / "up"
    up.mkdir(exist_ok=True)
    (up / f"{os.getpid()}").touch()
    while sum(1 for _ in up.iterdir()) < workers:
        time.sleep(0.2)
    rng = np.random.default_rng(task.seed)
    level = rng.random(3)
    for epoch in range(task.logged + 1, task.max_epochs + 1):
        natural, robust, sparse = (float(v) for v in level * (epoch / task.max_epochs) ** 0.3)
        known = {"natural_accuracy": natural, "robust_accuracy": robust, "channel_sparsity": sparse}
        tune.report(messages.to_result(messages.Epoch(epoch, {**_PLAIN, **known})))


@contextlib.contextmanager
def _timed(owner: type, name: str, spent: list[float]) -> Iterator[None]:
    """Context in which the seconds of each call of a method are recorded, including the calls inside it."""
    plain = getattr(owner, name)

    def timed(self: Any, *args: Any) -> Any:
        begun = time.perf_counter()
        try:
            return plain(self, *args)
        finally:
            spent.append(time.perf_counter() - begun)

    with mock.patch.object(owner, name, timed):
        yield


@contextlib.contextmanager
def _watched(seen: list[tuple[float, float]], megabytes: list[float]) -> Iterator[None]:
    """Context in which wall and CPU time of each report, and the memory of a worker, are recorded."""
    plain = tune_adapter.SchedulerAdapter.on_trial_result

    def watched(self: Any, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if len(seen) == _SETTLED // 2:
            megabytes.append(psutil.Process(result["pid"]).memory_full_info().uss / 1e6)
        seen.append((time.perf_counter(), time.process_time()))
        return plain(self, controller, trial, result)

    with mock.patch.object(tune_adapter.SchedulerAdapter, "on_trial_result", watched):
        yield


def _rate(times: np.ndarray) -> float:
    return float((len(times) - 1) / (times[-1] - times[0]))
