"""One launch: a fresh Ray Tune run over a run folder's log. Starting and resuming are the same."""

import contextlib
import logging
import os
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
import torch
import yaml
from ray import tune
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_exists

from rtune.cluster import resources, tune_adapter
from rtune.cluster.failures import Health
from rtune.cluster.interrupt import Interrupt
from rtune.cluster.journal import Dashboard
from rtune.cluster.machines import Machines
from rtune.cluster.progress import Progress
from rtune.cluster.resources import Room
from rtune.cluster.watchdog import Watch
from rtune.errors import LaunchError, ResourceError
from rtune.run.folder import RunFolder
from rtune.run.ledger import Trial, fold
from rtune.run.log import Writer
from rtune.run.retention import Keeper
from rtune.search import plan
from rtune.search.limits import Limits
from rtune.search.replicates import Asked
from rtune.search.state import Search
from rtune.storage.places import StorageError
from rtune.worker import build, gpu_host
from rtune.worker import loop as worker


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connects to the Ray cluster at `address`, or starts one on this machine.

    Raises:
        ResourceError: there is no cluster at the address.
    """
    try:
        if address is None:
            (here,) = resources.local().nodes
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
        words = " ".join(str(error).split()) or type(error).__name__
        remedy = "; install the same versions on both" if words.startswith("Version mismatch") else ""
        raise ResourceError(
            f"no Ray cluster can be used at {address or 'this machine'}: {words[:300].rstrip('.')}{remedy}"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def room() -> Room:
    """Where trials may run on the connected cluster."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    config = _autoscaler_config()
    if config is None:
        return Room(nodes, may_grow=_on_kubernetes())
    to_come, grows = resources.to_come(config, len(nodes))
    return Room(nodes, to_come=to_come, may_grow=grows)


def _autoscaler_config() -> dict[str, Any] | None:
    """The `ray up` file that this cluster's autoscaler goes by, where it runs on this machine."""
    head = f"--gcs-address={ray.get_runtime_context().gcs_address}"
    option = "--autoscaling-config="
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        files = [word.removeprefix(option) for word in words if word.startswith(option)]
        if files and head in words:
            with contextlib.suppress(OSError, yaml.YAMLError):
                found: dict[str, Any] = yaml.safe_load(Path(files[0]).expanduser().read_text())
                return found
    return None


def _on_kubernetes() -> bool:
    """Whether KubeRay's autoscaler may add machines: it lives in a container of its own, its file with it.

    Its head starts without Ray's own monitor, which elsewhere writes the same key.
    """
    return "RAY_CLUSTER_NAME" in os.environ and (
        is_autoscaler_v2() or _internal_kv_exists(b"__autoscaling_status")
    )


def launch(
    folder: RunFolder,
    limits: Limits,
    concurrency: int | None,
    data: str,
    progress: Progress,
    interrupt: Interrupt,
    machines: Machines | None = None,
    asked: Asked | None = None,
) -> str | None:
    """Runs trials until all are done or something ends the launch; Ray must be connected.

    Args:
        folder: the run.
        limits: of this launch.
        concurrency: trials at once; None for as many as there is room for at any time.
        data: `rtune.worker.build.fingerprint` of the data.
        progress: is told of every change.
        interrupt: asks for the end.
        machines: of a cluster; None on this machine alone.
        asked: settings to repeat with other seeds, which is then all that the launch does.

    Returns:
        None when every trial has ended, else why the launch did: `interrupted`, `time budget`.

    Raises:
        RunError: another launch is on the run.
        LaunchError: Ray Tune gave up, the run folder cannot be written, or every trial fails.
    """
    folder = folder.patient(progress.on_wait)
    watch = Watch(limits.report_timeout)
    ending = tune_adapter.Ending(limits.time_budget, interrupt, watch)
    try:
        with folder.launch() as writer:
            _Launch(folder, limits, concurrency, data, progress, ending, watch, machines, asked).run(writer)
    except StorageError as error:
        ending.fail(str(error))
    if ending.failure is not None:
        raise LaunchError(ending.failure)
    return ending.reason


@dataclass
class _Launch:
    folder: RunFolder
    limits: Limits
    concurrency: int | None
    data: str
    progress: Progress
    ending: tune_adapter.Ending
    watch: Watch
    machines: Machines | None
    asked: Asked | None

    def run(self, writer: Writer) -> None:
        folder, spec = self.folder, self.folder.spec
        records = folder.read().records
        ledger = fold(records)
        planned = plan.of_launch(spec, self.limits, ledger)
        now = self.concurrency or max(1, sum(resources.fit(self.limits, node) for node in room().nodes))
        images = build.images(spec.file.data, spec.search.seed)
        only = self.asked is not None
        command = "replicate" if only else "resume" if ledger.launches else "search"
        options = self.asked.options() if self.asked is not None else self.limits.options()
        begin = plan.begin(spec, planned, self.limits, now, self.data, images, command, options)
        search = Search(planned, [*records, begin], writer.append, replicates_only=only)
        writer.append(begin)
        if self.asked is not None:
            search.replicate(self.asked)
        if search.remaining() == 0:
            return
        dashboard = Dashboard(folder.place.local, planned, records)
        search.watch(dashboard.take)
        with self.progress.showing(search, now), Keeper(folder) as keeper:
            search.watch(keeper.take)
            try:
                self._fit(search)
            finally:
                if 0 < self.limits.gpus_per_trial < 1:
                    gpu_host.dismiss()
                dashboard.close()
        if not search.is_done() and not self.ending.is_over:
            self.ending.fail("Ray Tune ended it")

    def _fit(self, search: Search) -> None:
        """Runs Ray Tune, anew where a whole machine's lack of memory has ended it."""
        health = Health(self.limits.max_failures)
        callback = tune_adapter.BridgeCallback(
            search, self.ending, health, self.watch, self.progress, self.machines
        )
        trainable = self._trainable()
        # How many may wait for room is `_at_once`'s to say.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(self.limits.trials, len(search.ledger.trials)))
        again = True
        while again and not self.ending.is_over:
            again = False
            with tempfile.TemporaryDirectory(prefix="rtune-") as scratch:
                try:
                    self._tuner(trainable, search, health, callback, scratch).fit()
                except Exception as error:
                    traceback.print_exc()  # to launch.log
                    reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
                    again = isinstance(error.__cause__, ray.exceptions.OutOfMemoryError)
                    if again:
                        callback.all_broke("a machine ran out of memory")
                    else:
                        self.ending.fail(reason)

    def _at_once(self) -> int:
        """Trials that may be under way. One waits where there is no room: a machine that joins gets it."""
        if self.concurrency is not None or self.machines is None:
            return self.concurrency or 1
        return self.machines.slots + 1

    def _trainable(self) -> Any:
        """What Ray Tune runs: a trial, with the images from the object store, one copy a machine."""
        limits, spec = self.limits, self.folder.spec
        cpu = torch.device("cpu")
        # As for the fingerprint, so they are not read again.
        data = build.pack(*build.splits(spec.file.data, spec.search.seed, cpu, download=True))
        return tune.with_resources(
            tune.with_parameters(worker.run, data=data),
            {"cpu": limits.cpus_per_trial, "gpu": limits.gpus_per_trial},
        )

    def _tuner(
        self,
        trainable: Any,
        search: Search,
        health: Health,
        callback: tune_adapter.BridgeCallback,
        scratch: str,
    ) -> tune.Tuner:
        others = [] if self.machines is None else [self.machines]
        return tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=tune_adapter.BridgeSearcher(
                    search, self.ending, lambda trial: self._task(trial, search), self._at_once
                ),
                scheduler=tune_adapter.BridgeScheduler(search, self.ending, health, self.progress),
                num_samples=-1,  # until the search says that it is done
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                stop=self.ending,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
                callbacks=[self.watch, callback, *others],
            ),
        )

    def _task(self, trial: Trial, search: Search) -> dict[str, Any]:
        spec, folder = self.folder.spec, self.folder.trial_folder(trial.id)
        return {
            "trial": trial.id,
            "seed": trial.seed,
            "config": spec.identity(trial.values),
            "run": self.folder.place.absolute,
            "folder": folder.absolute,
            "logged": trial.epoch,
            "rungs": search.plan.rungs(),
            "max_epochs": self.limits.max_epochs if trial.length is None else trial.length,
            "versions": None if self.machines is None else self.machines.versions,
            "threads": self.limits.cpus_per_trial,
            "device": "cuda" if self.limits.gpus_per_trial else "cpu",
            "shares_gpu": 0 < self.limits.gpus_per_trial < 1,
        }
