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
from rtune.run.folder import RunFolder
from rtune.search.limits import Limits
from rtune.search.state import Search
from rtune.worker import messages, trainable
from rtune.worker.task import Task

_PLAIN = dict.fromkeys(schema.epoch(), 0.5) | {"macs": 1, "parameters": 1, "images": 100}
# Reports that are not counted: the first of all workers come at once.
_SETTLED = 100


def measure(workers: int, trials: int) -> dict[str, Any]:
    """Runs a launch and sums up what a report cost the driver.

    Args:
        workers: trials at once.
        trials: of the search.

    Returns:
        reports a second from when all workers are up, in all and in the first and last quarter, likewise the
        driver's CPU milliseconds for one, and its wall milliseconds in this project's own code; memory of the
        driver, and what one worker (without torch) shares with no other.
    """
    import benchmarks.speed.scaling_ray as module

    cloudpickle.register_pickle_by_value(module)  # workers need not find it
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
        folder = RunFolder.create(scratch, "ray", search_spec, {})
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
    """A trial that trains nothing, once all workers are up; stands in for `rtune.worker.trainable.run`."""
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
    """Context in which a method's seconds are noted; what it calls of the others is in it too."""
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
    """Context in which the wall and CPU time of each report's arrival is noted, and a worker's own memory."""
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
