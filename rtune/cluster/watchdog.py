"""Detects what Ray Tune does not: workers that hang, and the death of Ray itself."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import ray
from ray.tune import Callback
from ray.tune.experiment import Trial as RayTrial

from rtune.clock import RunningTime

# Seconds between two checks for workers that hang.
_PERIOD = 1.0


class Watchdog(Callback):
    """Kills workers that have reported nothing for too long; their trials then fail and are retried.

    Only time in which Ray Tune's loop runs counts. While it stands still (Ctrl-Z, a suspended laptop, a store
    that does not answer), workers may stand still too, or wait until their reports are taken.

    Args:
        timeout: seconds without a report.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        # One long gap must not use up the time of a worker.
        self._clock = RunningTime(longest=min(10.0, timeout / 10))
        self._last_report: dict[str, float] = {}
        self._trials: list[RayTrial] = []
        self._killed: set[str] = set()
        self._next_check = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # pickled for `Tuner.restore`, which rtune never uses

    def on_trial_start(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        self._last_report[trial.trial_id] = self._clock.now()

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: dict[str, Any], **info: Any
    ) -> None:
        self._last_report[trial.trial_id] = self._clock.now()

    def on_step_begin(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        self._trials = trials
        now = self._clock.now()
        # Ray Tune makes hundreds of steps a second, and its list contains all trials since the launch began.
        if now < self._next_check:
            return
        self._next_check = now + min(_PERIOD, self._timeout / 10)
        for trial in trials:
            # A pending trial with a worker reuses that worker, which may hang before the trial starts.
            worker = trial.temporary_state.ray_actor
            if worker is None or trial.status not in ("RUNNING", "PENDING"):
                continue
            if now - self._last_report.setdefault(trial.trial_id, now) > self._timeout:
                self._last_report[trial.trial_id] = now
                self._killed.add(trial.trial_id)
                ray.kill(worker)

    def kill_reason(self, trial: RayTrial) -> str | None:
        """Why the watchdog has killed a trial's worker; None if it has not."""
        if trial.trial_id not in self._killed:
            return None
        return f"no epoch within {self._timeout:g} seconds: its worker hung and was killed"

    def kill_all(self) -> None:
        """Kills all workers at the end of a launch; Ray Tune would wait up to ten seconds for each epoch."""
        for trial in self._trials:
            if trial.status == "RUNNING" and trial.temporary_state.ray_actor is not None:
                ray.kill(trial.temporary_state.ray_actor)


@contextmanager
def exit_if_ray_dies(screen: int, ending: Callable[[], tuple[str, int]]) -> Iterator[None]:
    """Context in which this process exits within seconds if Ray's local processes die.

    Otherwise Ray Tune waits for ever when the raylet is gone, and Ray ends this process without a message one
    minute after it has lost its control service.

    Args:
        screen: file descriptor to which the message is written.
        ending: gives the message and the exit code.
    """
    pids = _ray_processes()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            if not all(map(_is_alive, pids)):
                message, code = ending()
                # The live view has hidden the cursor.
                show_cursor = "\x1b[?25h\n" if os.isatty(screen) else ""
                with contextlib.suppress(OSError):  # the terminal may be gone
                    os.write(screen, f"{show_cursor}rtune: {message}\n".encode())
                os._exit(code)

    thread = threading.Thread(target=watch, name="rtune-ray-monitor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _ray_processes() -> list[int]:
    """Process ids of this machine's raylet, and on the head of the control service, of this Ray session."""
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
