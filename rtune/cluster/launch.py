"""One launch: a new Ray Tune run that continues a run folder's log. Starting and resuming are the same."""

import os
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

import ray
import torch
from ray import tune

from rtune.cluster import connection, resources
from rtune.cluster.failures import FailurePolicy
from rtune.cluster.interrupt import Interrupt
from rtune.cluster.journal import OptunaJournal
from rtune.cluster.machines import Machines
from rtune.cluster.progress import Progress
from rtune.cluster.tune_adapter import FailureCallback, LaunchStopper, SchedulerAdapter, SearcherAdapter
from rtune.cluster.watchdog import Watchdog
from rtune.config.spec import Spec
from rtune.errors import LaunchError
from rtune.run.folder import RunFolder
from rtune.run.ledger import Trial, fold
from rtune.run.log import Writer
from rtune.run.retention import CheckpointCleaner
from rtune.search import plan
from rtune.search.limits import Limits
from rtune.search.replicates import ReplicateRequest
from rtune.search.state import Search
from rtune.storage.places import StorageError
from rtune.worker import build, gpu_actor, trainable
from rtune.worker.task import Task


def launch(
    folder: RunFolder,
    limits: Limits,
    concurrency: int | None,
    data: str,
    progress: Progress,
    interrupt: Interrupt,
    machines: Machines | None = None,
    asked: ReplicateRequest | None = None,
) -> str | None:
    """Runs trials until all have ended or something ends the launch; Ray must be connected.

    Args:
        folder: the run.
        limits: of this launch.
        concurrency: trials at once; None for as many as there is room for at any time.
        data: `rtune.worker.build.fingerprint` of the data.
        progress: shows every change.
        interrupt: requests the end.
        machines: of a cluster; None on this machine alone.
        asked: settings to repeat with other seeds; the launch then does nothing else.

    Returns:
        None when every trial has ended, else why the launch did: `interrupted`, `time budget`.

    Raises:
        RunError: another launch is on the run.
        LaunchError: Ray Tune failed, the run folder cannot be written, or every trial fails.
    """
    folder = folder.with_retries(progress.on_wait)
    watchdog = Watchdog(limits.report_timeout)
    stopper = LaunchStopper(limits.time_budget, interrupt, watchdog)
    slots = concurrency or max(1, sum(resources.capacity(limits, node) for node in connection.room().nodes))
    try:
        with folder.launch() as writer:
            stopper.watch(writer.check)
            records = folder.read().records
            search = _open_search(folder.spec, limits, slots, data, asked, records, writer)
            if search.remaining() > 0:
                journal = OptunaJournal(folder.place.local, search.plan, records)
                search.watch(journal.add)
                with progress.showing(search, slots), CheckpointCleaner(folder) as cleaner:
                    search.watch(cleaner.take)
                    try:
                        _run_trials(
                            search, folder, limits, concurrency, progress, stopper, watchdog, machines
                        )
                    finally:
                        with stopper.writing_log():
                            writer.check()
                            journal.close()
    except StorageError as error:
        stopper.fail(str(error))
    if stopper.failure is not None:
        raise LaunchError(stopper.failure)
    return stopper.reason


def _open_search(
    spec: Spec,
    limits: Limits,
    slots: int,
    data: str,
    asked: ReplicateRequest | None,
    records: list[dict[str, Any]],
    writer: Writer,
) -> Search:
    """The search as its log tells it, with the record of this launch written to the log."""
    ledger = fold(records)
    planned = plan.of_launch(spec, limits, ledger)
    images = build.images(spec.file.data, spec.search.seed)
    if asked is not None:
        command, options = "replicate", asked.options()
    else:
        command, options = "resume" if ledger.launches else "search", limits.options()
    begin = plan.launch_record(spec, planned, limits, slots, data, images, command, options)
    search = Search(planned, [*records, begin], writer.append, replicates_only=asked is not None)
    writer.append(begin)
    if asked is not None:
        search.replicate(asked)
    return search


def _run_trials(
    search: Search,
    folder: RunFolder,
    limits: Limits,
    concurrency: int | None,
    progress: Progress,
    stopper: LaunchStopper,
    watchdog: Watchdog,
    machines: Machines | None,
) -> None:
    """Has Ray Tune run the search's trials to the end of the launch."""
    policy = FailurePolicy(limits.max_failures)
    on_failure = FailureCallback(search, stopper, policy, watchdog, progress, machines)
    callbacks = [watchdog, on_failure, *([] if machines is None else [machines])]
    train = _trainable(folder.spec, limits)

    def task(trial: Trial) -> Task:
        return _task(trial, folder, limits, search.plan.rungs(), machines)

    def max_running() -> int:
        if concurrency is not None or machines is None:
            return concurrency or 1
        return machines.slots + 1  # one waits, so that a machine that joins is used at once

    def run_tune(scratch: str) -> None:
        searcher = SearcherAdapter(search, stopper, task, max_running)
        scheduler = SchedulerAdapter(search, stopper, policy, progress)
        _tuner(train, searcher, scheduler, stopper, callbacks, scratch).fit()

    # No limit of Ray Tune's own on the trials that wait for resources: `max_running` is the limit.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(limits.trials, len(search.ledger.trials)))
    try:
        while not stopper.is_stopping and _out_of_memory(run_tune, stopper):
            on_failure.fail_all("a machine ran out of memory")
    finally:
        if 0 < limits.gpus_per_trial < 1:
            gpu_actor.stop_hosts()
    if not search.is_done() and not stopper.is_stopping:
        stopper.fail("Ray Tune ended before the search did")


def _out_of_memory(run_tune: Callable[[str], None], stopper: LaunchStopper) -> bool:
    """Runs Ray Tune once; True if a machine ran out of memory, which ends Ray Tune but not the search."""
    try:
        with tempfile.TemporaryDirectory(prefix="rtune-", ignore_cleanup_errors=True) as scratch:
            run_tune(scratch)
    except Exception as error:
        traceback.print_exc()  # to launch.log
        if isinstance(error.__cause__, ray.exceptions.OutOfMemoryError):
            return True
        stopper.fail((str(error).strip().splitlines() or [type(error).__name__])[-1])
    return False


def _tuner(
    train: Any,
    searcher: SearcherAdapter,
    scheduler: SchedulerAdapter,
    stopper: LaunchStopper,
    callbacks: list[tune.Callback],
    scratch: str,
) -> tune.Tuner:
    return tune.Tuner(
        train,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,  # no limit: the searcher tells when the search is done
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=scratch,
            stop=stopper,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            callbacks=callbacks,
        ),
    )


def _trainable(spec: Spec, limits: Limits) -> Any:
    """What Ray Tune runs for a trial; the images are in the object store, one copy per machine."""
    # The same call as for the fingerprint, so that the images are not read again.
    data = build.pack(*build.splits(spec.file.data, spec.search.seed, torch.device("cpu"), download=True))
    return tune.with_resources(
        tune.with_parameters(trainable.run, data=data),
        {"cpu": limits.cpus_per_trial, "gpu": limits.gpus_per_trial},
    )


def _task(
    trial: Trial, folder: RunFolder, limits: Limits, rungs: list[int], machines: Machines | None
) -> Task:
    return Task(
        trial=trial.id,
        seed=trial.seed,
        config=folder.spec.identity(trial.values),
        run=folder.place.absolute,
        folder=folder.trial_folder(trial.id).absolute,
        max_epochs=limits.max_epochs if trial.length is None else trial.length,
        logged=trial.epoch,
        rungs=tuple(rungs),
        threads=limits.cpus_per_trial,
        device="cuda" if limits.gpus_per_trial else "cpu",
        shares_gpu=0 < limits.gpus_per_trial < 1,
        versions=None if machines is None else machines.versions,
    )
