"""Watches what Ray Tune does not: workers that hang, and Ray itself."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import ray
from ray.tune import Callback
from ray.tune.experiment import Trial as RayTrial

# Seconds between two looks for workers that hang.
_LOOK = 1.0


class Watch(Callback):
    """Kills workers that have been silent for too long: their trials break, and go on elsewhere.

    Args:
        timeout: seconds without an epoch.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._seen: dict[str, float] = {}
        self._trials: list[RayTrial] = []
        self._hung: set[str] = set()
        self._look_after = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # pickled for `Tuner.restore`, which rtune never uses

    def on_trial_start(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        self._seen[trial.trial_id] = time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: dict[str, Any], **info: Any
    ) -> None:
        self._seen[trial.trial_id] = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        self._trials = trials
        now = time.monotonic()
        # Ray Tune takes hundreds of steps a second, and has all trials that have ever been in its list.
        if now < self._look_after:
            return
        self._look_after = now + min(_LOOK, self._timeout / 10)
        for trial in trials:
            # Pending with a worker: one that is used again, and may hang before it starts the trial.
            worker = trial.temporary_state.ray_actor
            if worker is None or trial.status not in ("RUNNING", "PENDING"):
                continue
            if now - self._seen.setdefault(trial.trial_id, now) > self._timeout:
                self._seen[trial.trial_id] = now
                self._hung.add(trial.trial_id)
                ray.kill(worker)

    def hung(self, trial: RayTrial) -> str | None:
        """Why a trial's worker was killed, if it was."""
        if trial.trial_id not in self._hung:
            return None
        return f"no epoch within {self._timeout:g} seconds: its worker hung and was killed"

    def kill_all(self) -> None:
        """The launch ends: Ray Tune would wait for each worker to finish its epoch, up to ten seconds."""
        for trial in self._trials:
            if trial.status == "RUNNING" and trial.temporary_state.ray_actor is not None:
                ray.kill(trial.temporary_state.ray_actor)


@contextmanager
def lifeline(screen: int, words: Callable[[], tuple[str, int]]) -> Iterator[None]:
    """Context in which this process ends within seconds if the local Ray dies under it.

    Ray Tune would wait for ever without a raylet, and Ray ends the process without a word a minute after
    the loss of its control service.

    Args:
        screen: file descriptor for the last words.
        words: gives them, and the exit code.
    """
    pids = _of_ray()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            if not all(map(_is_alive, pids)):
                text, code = words()
                # A live view has hidden the cursor.
                show = "\x1b[?25h\n" if os.isatty(screen) else ""
                os.write(screen, f"{show}rtune: {text}\n".encode())
                os._exit(code)

    thread = threading.Thread(target=watch, name="rtune-lifeline", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _of_ray() -> list[int]:
    """This machine's raylet, and on the head the control service, of the session that is connected."""
    session = ray.get_runtime_context().get_session_name()
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] in ("raylet", "gcs_server") and any(
            session in word for word in process.info["cmdline"] or []
        ):
            found.append(process.pid)
    return found


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
