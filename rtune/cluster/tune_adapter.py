"""Adapters between Ray Tune and a `Search`: a stopper, a searcher, a scheduler and a callback."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from rtune import clock
from rtune.cluster.failures import FailurePolicy, faulty_machine, last_line, readable
from rtune.cluster.interrupt import Interrupt
from rtune.cluster.machines import Machines
from rtune.cluster.progress import Progress
from rtune.cluster.watchdog import Watchdog
from rtune.run.ledger import Trial
from rtune.search.state import Search
from rtune.storage.places import StorageError
from rtune.worker import messages
from rtune.worker.task import Task

# Seconds between two checks whether the log may still be written.
_CHECK_PERIOD = 2.0


class _NoState:
    """Ray Tune pickles its parts for `Tuner.restore`, which rtune never uses: this saves an empty state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class LaunchStopper(_NoState, Stopper):
    """Ends the launch on an interrupt, after its time budget, or after a failure that concerns all trials.

    The time budget is of the time in which this process runs: a stop (Ctrl-Z, a suspended laptop) uses none.

    Attributes:
        reason: why the launch ends without a failure: `interrupted` or `time budget`; None while it goes on.
        failure: a sentence on the failure that ends the launch; None if there is none.
    """

    def __init__(self, time_budget: float | None, interrupt: Interrupt, watchdog: Watchdog) -> None:
        self.reason: str | None = None
        self.failure: str | None = None
        self._interrupt = interrupt
        self._watchdog = watchdog
        self._check: Callable[[], None] = lambda: None
        self._next_check = 0.0
        self._deadline = None if time_budget is None else clock.running() + time_budget

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def watch(self, check: Callable[[], None]) -> None:
        """Ends the launch when `check`, called now and then, raises StorageError."""
        self._check = check

    def stop_all(self) -> bool:
        if (now := clock.running()) >= self._next_check:
            self._next_check = now + _CHECK_PERIOD
            with self.writing_log():
                self._check()
        if self._interrupt.requested:
            self.reason = "interrupted"
        elif self.reason is None and self._deadline is not None and now > self._deadline:
            self.reason = "time budget"
        if not self.is_stopping:
            return False
        self._watchdog.kill_all()
        return True

    @property
    def is_stopping(self) -> bool:
        """Whether the launch ends."""
        return self.reason is not None or self.failure is not None

    def fail(self, sentence: str) -> None:
        """Ends the launch with a failure; later failures are ignored."""
        self.failure = self.failure or sentence

    @contextmanager
    def writing_log(self) -> Iterator[None]:
        """Context in which the log is written: a StorageError ends the launch."""
        try:
            yield
        except StorageError as error:
            self.fail(str(error))


class SearcherAdapter(_NoState, Searcher):
    """Gives Ray Tune the search's next trial as a config.

    Args:
        search: the search.
        stopper: no trial is given once it stops the launch.
        task: makes the task of a trial.
        max_running: gives the largest number of trials that may run now.
    """

    def __init__(
        self,
        search: Search,
        stopper: LaunchStopper,
        task: Callable[[Trial], Task],
        max_running: Callable[[], int],
    ) -> None:
        super().__init__()
        self._search = search
        self._stopper = stopper
        self._task = task
        self._max_running = max_running

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        trial = None
        full = len(self._search.under_way()) >= self._max_running()
        if not full and not self._stopper.is_stopping:
            with self._stopper.writing_log():
                trial = self._search.next_trial()
        if trial is None:
            # None means "ask again": the result of a running trial may let another one continue.
            return Searcher.FINISHED if self._search.is_done() else None
        return self._task(trial).to_config()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Does nothing: the scheduler and the callback handle the end of a trial."""

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: the run's log has all state."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing: see `save`."""


class SchedulerAdapter(_NoState, FIFOScheduler):
    """Passes each report to the search, and stops the trial if the search says so."""

    def __init__(
        self,
        search: Search,
        stopper: LaunchStopper,
        policy: FailurePolicy,
        progress: Progress,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._search = search
        self._stopper = stopper
        self._policy = policy
        self._progress = progress
        self._gpu_notes: set[str] = set()

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        return True

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        name = trial.config["trial"]
        report = messages.from_result(result)
        for note in report.notes:
            self._show(name, note)
        if isinstance(report, messages.Waits):
            return str(TrialScheduler.CONTINUE)
        continues = False
        with self._stopper.writing_log():
            if isinstance(report, messages.Diverged):
                self._search.end(name, "diverged", report.reason)
            else:
                continues = self._search.report(name, report.epoch, report.metrics)
        self._policy.record_progress(name)
        self._progress.on_change(name)
        return str(TrialScheduler.CONTINUE if continues else TrialScheduler.STOP)

    def _show(self, name: str, note: messages.Note) -> None:
        if note.about == "trial":
            self._progress.on_note(f"{name}: {note.text}")
        elif note.text not in self._gpu_notes:  # each trial on the GPU reports it
            self._gpu_notes.add(note.text)
            self._progress.on_note(note.text)


class FailureCallback(_NoState, Callback):
    """Retries failed trials from their checkpoints, and records those that have failed for good.

    Ray Tune itself is told to retry nothing: it counts a trial's failures over its whole life, and it gives
    up a trial whose reused worker died before the trial began.
    """

    def __init__(
        self,
        search: Search,
        stopper: LaunchStopper,
        policy: FailurePolicy,
        watchdog: Watchdog,
        progress: Progress,
        machines: Machines | None,
    ) -> None:
        self._search = search
        self._stopper = stopper
        self._policy = policy
        self._watchdog = watchdog
        self._progress = progress
        self._machines = machines

    def on_trial_error(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        trace = _trace(trial)
        error = self._watchdog.kill_reason(trial) or readable(last_line(trace))
        self._handle(trial.config["trial"], error, faulty_machine(trace))

    def fail_all(self, error: str) -> None:
        """The same error has ended every running trial."""
        for name in self._search.under_way():
            self._handle(name, error)

    def _handle(self, name: str, error: str, faulty: tuple[str, str] | None = None) -> None:
        if self._search.ledger.trials[name].status != "running":
            return  # its worker died after the trial's last report
        if faulty is not None:
            machine_id, problem = faulty
            self._exclude_machine(name, machine_id, readable(problem))
            return
        with self._stopper.writing_log():
            if self._policy.may_retry(name, error):
                self._search.retry(name, error)
                self._progress.on_retry(name, error)
                return
            self._search.end(name, "failed", error)
        if (hopeless := self._policy.record_final_failure(error)) is not None:
            self._stopper.fail(hopeless)
        self._progress.on_change(name)

    def _exclude_machine(self, name: str, machine_id: str, problem: str) -> None:
        """Retries a trial on another machine; ends the launch if there is none."""
        if self._machines is None:
            self._stopper.fail(problem)
            return
        if not self._machines.exclude(machine_id, problem):
            self._stopper.fail(
                f"no machine is left that can run trials; of {self._machines.name(machine_id)}: {problem}"
            )
            return
        with self._stopper.writing_log():
            self._search.retry(name, problem)


def _trace(trial: RayTrial) -> str:
    """The trial's last traceback, whose last line names the error."""
    # Not trial.get_error(): it looks where Ray uploads the file at the end of the run.
    file = trial.error_file
    text = Path(file).read_text(errors="replace").strip() if file and Path(file).is_file() else ""
    return text or "the worker died and left no error message"
