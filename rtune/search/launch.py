"""One launch: a fresh Ray Tune run over a run folder's log. Starting and resuming are the same."""

import logging
import os
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Read by Ray when it is imported: no telemetry, no loggers beside ours, no state we do not use.
for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Ray's own killer ends all of Ray Tune with the worker; the kernel's takes the worker alone.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402

from rtune import trial as worker  # noqa: E402
from rtune.keeping import Keeper  # noqa: E402
from rtune.ledger import Trial, fold  # noqa: E402
from rtune.log import Writer  # noqa: E402
from rtune.runfolder import LaunchError, RunFolder  # noqa: E402
from rtune.search import bridge, plan, resources  # noqa: E402
from rtune.search.dashboard import Dashboard  # noqa: E402
from rtune.search.health import Health  # noqa: E402
from rtune.search.interrupt import Interrupt  # noqa: E402
from rtune.search.progress import Progress  # noqa: E402
from rtune.search.resources import Limits  # noqa: E402
from rtune.search.state import Search  # noqa: E402
from rtune.search.watch import Watch  # noqa: E402
from rtune.storage import StorageError  # noqa: E402


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connects to the Ray cluster at `address`, or starts one on this machine.

    Raises:
        ResourceError: there is no cluster at the address.
    """
    try:
        if address is None:
            here = resources.local()
            ray.init(
                address="local",  # without it Ray would join whatever cluster it finds here
                num_cpus=int(here["CPU"]),
                num_gpus=int(here["GPU"]),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=256 * 1024**2,
            )
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise resources.ResourceError(
            f"no Ray cluster can be used at {address or 'this machine'}: {first}"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def nodes() -> list[dict[str, float]]:
    """Resources of each live node of the connected cluster."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def launch(
    folder: RunFolder, limits: Limits, concurrency: int, data: str, progress: Progress, interrupt: Interrupt
) -> str | None:
    """Runs trials until all are done or something ends the launch; Ray must be connected.

    Args:
        folder: the run.
        limits: of this launch.
        concurrency: trials at once.
        data: `rtune.build.fingerprint` of the data.
        progress: is told of every change.
        interrupt: asks for the end.

    Returns:
        None when every trial has ended, else why the launch did: `interrupted`, `time budget`.

    Raises:
        RunError: another launch is on the run.
        LaunchError: Ray Tune gave up, the run folder cannot be written, or every trial fails.
    """
    folder = folder.patient(progress.on_wait)
    watch = Watch(limits.report_timeout)
    ending = bridge.Ending(limits.time_budget, interrupt, watch)
    try:
        with folder.launch() as writer:
            _Launch(folder, limits, concurrency, data, progress, ending, watch).run(writer)
    except StorageError as error:
        ending.fail(str(error))
    if ending.failure is not None:
        raise LaunchError(ending.failure)
    return ending.reason


@dataclass
class _Launch:
    folder: RunFolder
    limits: Limits
    concurrency: int
    data: str
    progress: Progress
    ending: bridge.Ending
    watch: Watch

    def run(self, writer: Writer) -> None:
        folder, spec = self.folder, self.folder.spec
        records = folder.read().records
        planned = plan.of_launch(spec, self.limits, fold(records))
        begin = plan.begin(spec, planned, self.limits, self.concurrency, self.data)
        search = Search(planned, [*records, begin], writer.append)
        if search.remaining() == 0:
            return
        writer.append(begin)
        dashboard = Dashboard(folder.place.local, planned, records)
        search.watch(dashboard.take)
        with self.progress.showing(search, self.concurrency), Keeper(folder) as keeper:
            search.watch(keeper.take)
            try:
                self._fit(search)
            finally:
                dashboard.close()
        if not search.is_done() and not self.ending.is_over:
            self.ending.fail("Ray Tune ended it")

    def _fit(self, search: Search) -> None:
        """Runs Ray Tune, anew where a whole machine's lack of memory has ended it."""
        health = Health(self.limits.max_failures)
        callback = bridge.BridgeCallback(search, self.ending, health, self.watch, self.progress)
        again = True
        while again and not self.ending.is_over:
            again = False
            with tempfile.TemporaryDirectory(prefix="rtune-") as scratch:
                try:
                    self._tuner(search, health, callback, scratch).fit()
                except Exception as error:
                    traceback.print_exc()  # to launch.log
                    reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
                    again = isinstance(error.__cause__, ray.exceptions.OutOfMemoryError)
                    if again:
                        callback.all_broke("a machine ran out of memory")
                    else:
                        self.ending.fail(reason)

    def _tuner(
        self, search: Search, health: Health, callback: bridge.BridgeCallback, scratch: str
    ) -> tune.Tuner:
        limits = self.limits
        return tune.Tuner(
            tune.with_resources(worker.run, {"cpu": limits.cpus_per_trial, "gpu": limits.gpus_per_trial}),
            tune_config=tune.TuneConfig(
                search_alg=bridge.BridgeSearcher(search, self.ending, self._task),
                scheduler=bridge.BridgeScheduler(search, self.ending, health, self.progress),
                num_samples=-1,  # until the search says that it is done
                max_concurrent_trials=self.concurrency,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                stop=self.ending,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
                callbacks=[self.watch, callback],
            ),
        )

    def _task(self, trial: Trial) -> dict[str, Any]:
        spec, folder = self.folder.spec, self.folder.trial_folder(trial.id)
        return {
            "trial": trial.id,
            "seed": trial.seed,
            "data_folder": spec.file.data.folder,
            "config": spec.identity(trial.values),
            "folder": str(folder.local.resolve() if folder.local else folder),
            "logged": trial.epoch,
            "max_epochs": self.limits.max_epochs,
            "split_seed": spec.search.seed,
            "threads": self.limits.cpus_per_trial,
            "device": "cuda" if self.limits.gpus_per_trial else "cpu",
        }
