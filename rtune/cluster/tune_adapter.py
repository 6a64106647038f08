"""Ray Tune's stopper, searcher, scheduler and callback, each a thin door to `Search`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from rtune.cluster.failures import Health, last_line, unfit, words
from rtune.cluster.interrupt import Interrupt
from rtune.cluster.machines import Machines
from rtune.cluster.progress import Progress
from rtune.cluster.watchdog import Watch
from rtune.run import schema
from rtune.run.ledger import Trial
from rtune.search.state import Search
from rtune.storage.places import StorageError
from rtune.worker import gpu_host


class _NeverSaved:
    """Ray Tune pickles its parts for `Tuner.restore`, which rtune never uses: there is nothing in them."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Ending(_NeverSaved, Stopper):
    """Ends the launch when asked to, when its time is up, or when there is no sense in going on.

    Attributes:
        reason: why the launch ends though nothing is wrong, None while it does not.
        failure: a sentence on what is wrong, None while nothing is.
    """

    def __init__(self, time_budget: float | None, interrupt: Interrupt, watch: Watch) -> None:
        self.reason: str | None = None
        self.failure: str | None = None
        self._interrupt = interrupt
        self._watch = watch
        self._deadline = None if time_budget is None else time.monotonic() + time_budget

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self._interrupt.requested:
            self.reason = "interrupted"
        elif self.reason is None and self._deadline is not None and time.monotonic() > self._deadline:
            self.reason = "time budget"
        if not self.is_over:
            return False
        self._watch.kill_all()
        return True

    @property
    def is_over(self) -> bool:
        """Whether the launch ends."""
        return self.reason is not None or self.failure is not None

    def fail(self, sentence: str) -> None:
        """The first sentence stands."""
        self.failure = self.failure or sentence

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Context in which the log is written: if it cannot be, the launch ends."""
        try:
            yield
        except StorageError as error:
            self.fail(str(error))


class BridgeSearcher(_NeverSaved, Searcher):
    """Hands out the search's next trial as a Ray Tune config."""

    def __init__(
        self,
        search: Search,
        ending: Ending,
        task: Callable[[Trial], dict[str, Any]],
        at_once: Callable[[], int],
    ) -> None:
        super().__init__()
        self._at_once = at_once
        self._search = search
        self._ending = ending
        self._task = task

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        trial = None
        full = len(self._search.under_way()) >= self._at_once()
        if not full and not self._ending.is_over:
            with self._ending.saving():
                trial = self._search.next_trial()
        if trial is None:
            # None: ask again, a trial under way may let another go on.
            return Searcher.FINISHED if self._search.is_done() else None
        return self._task(trial)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """What a trial's end means is decided by the scheduler and the callback below."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the run's log is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: see `save`."""


class BridgeScheduler(_NeverSaved, FIFOScheduler):
    """Passes each epoch on and stops the trial if the search says so."""

    def __init__(
        self,
        search: Search,
        ending: Ending,
        health: Health,
        progress: Progress,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._search = search
        self._ending = ending
        self._health = health
        self._progress = progress
        self._said: set[str] = set()  # of GPUs: as many trials as there are would say the same

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        return True

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        name = trial.config["trial"]
        for note in result.get("notes", ()):
            if not note.startswith(gpu_host.THE_GPU):
                self._progress.on_note(f"{name}: {note}")
            elif note not in self._said:
                self._said.add(note)
                self._progress.on_note(note)
        if "waits" in result:  # for a place on its GPU
            return str(TrialScheduler.CONTINUE)
        go_on = False
        with self._ending.saving():
            if "diverged" in result:
                self._search.end(name, "diverged", result["diverged"])
            else:
                metrics = {name: result.get(name) for name in schema.epoch()}
                go_on = self._search.report(name, result["epoch"], metrics)
        self._health.progressed(name)
        self._progress.on_change(name)
        return str(TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP)


class BridgeCallback(_NeverSaved, Callback):
    """Has broken trials tried again from their checkpoints, and records those that failed for good.

    Ray Tune itself is told to retry nothing: it would count a trial's failures over its whole life, and
    gives one up whose worker, used again, has died before the trial began.
    """

    def __init__(
        self,
        search: Search,
        ending: Ending,
        health: Health,
        watch: Watch,
        progress: Progress,
        machines: Machines | None,
    ) -> None:
        self._machines = machines
        self._search = search
        self._ending = ending
        self._health = health
        self._watch = watch
        self._progress = progress

    def on_trial_error(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        trace = _trace(trial)
        error = self._watch.hung(trial) or words(last_line(trace))
        self._broke(trial.config["trial"], error, unfit(trace))

    def all_broke(self, error: str) -> None:
        """The same has happened to every trial under way."""
        for name in self._search.under_way():
            self._broke(name, error)

    def _broke(self, name: str, error: str, blamed: tuple[str, str] | None = None) -> None:
        if self._search.ledger.trials[name].status != "running":
            return  # its worker died after the last word on it
        if blamed is not None:
            node, why = blamed
            self._machine_failed(name, node, words(why))
            return
        with self._ending.saving():
            if self._health.may_retry(name, error):
                self._search.retry(name, error)
                self._progress.on_retry(name, error)
                return
            self._search.end(name, "failed", error)
        if (hopeless := self._health.failed(error)) is not None:
            self._ending.fail(hopeless)
        self._progress.on_change(name)

    def _machine_failed(self, name: str, node: str, why: str) -> None:
        """The trial goes on elsewhere; where there is no elsewhere the launch ends."""
        if self._machines is None:
            self._ending.fail(why)
            return
        if not self._machines.blame(node, why):
            self._ending.fail(
                f"no machine is left that can run trials; of {self._machines.name(node)}: {why}"
            )
            return
        with self._ending.saving():
            self._search.retry(name, why)


def _trace(trial: RayTrial) -> str:
    """The trial's newest traceback, of whose lines the last names the error."""
    # Not trial.get_error(): that looks where Ray uploads the file at the end of the run.
    file = trial.error_file
    text = Path(file).read_text(errors="replace").strip() if file and Path(file).is_file() else ""
    return text or "the worker died without a word"
