"""Trials that share a GPU train in one process of it, each on a thread and a stream of its own.

Kernels of a small network leave most of a GPU idle. Those of several streams run side by side, those of
several processes take turns. So a trial that asks for less than a GPU has its worker, which Ray counts, kills
and hears from, but its epochs are trained by the GPU's host, which the first such worker starts.
"""

import contextlib
import gc
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rtune.robust import Diverged, Split
from rtune.robust.random import deterministic
from rtune.storage.places import StorageError
from rtune.worker import build

PREFIX = "rtune-gpu-"
# How notes begin that are of the machine, not of the trial.
THE_GPU = "the GPU"
# Trials a GPU: more than anyone shares one between.
_MOST = 64
# Seconds after which a worker that waits for memory is told so, and after which a host without workers ends.
_PATIENCE = 10.0
_IDLE = 60.0

Epochs = Callable[[dict[str, Any], Split, Split, list[str]], Iterator[tuple[int, dict[str, Any]]]]


@dataclass
class _Session:
    """A trial of one worker.

    Attributes:
        task: see `rtune.worker.loop.run`.
        pid: the worker's.
        stream: None on a CPU.
        notes: not yet told.
        epochs: what is left to train; None before the beginning and while it waits for memory.
        beside: most other trials that had something on the GPU during its current epoch.
        busy: one call at a time.
    """

    task: dict[str, Any]
    pid: int
    stream: "torch.cuda.Stream | None"
    notes: list[str] = field(default_factory=list)
    epochs: Iterator[tuple[int, dict[str, Any]]] | None = None
    beside: int = 0
    busy: threading.Lock = field(default_factory=threading.Lock)


class Host:
    """Trains the trials that share one GPU.

    Args:
        train: `rtune.worker.loop.epochs`, or what is to be done in its place.
    """

    def __init__(self, train: Epochs) -> None:
        self._train = train
        self._splits: tuple[Split, Split] | None = None
        self._sessions: dict[str, _Session] = {}
        self._changed = threading.Condition()
        self._most = _MOST
        self._settings = contextlib.ExitStack()

    def give(self, data: dict[str, Any], device: str, repeatable: bool) -> None:
        """The images that all its trials train on, and whether they are to be `deterministic`."""
        with self._changed:
            if self._splits is None:
                self._settings.enter_context(deterministic(repeatable))
                self._splits = build.unpack(data, torch.device(device))

    def advance(self, key: str, pid: int, task: dict[str, Any]) -> dict[str, Any] | None:
        """The next epoch of a worker's trial as a report, or what keeps it; None before the data is given.

        Returns:
            `epoch` with its metrics; `waits` if the GPU's memory has no room as yet; `diverged` or
            `storage` with the reason; or `ended`. All with `notes`.
        """
        if self._splits is None:
            return None
        with self._changed:
            self.forget_the_dead()
            session = self._sessions.setdefault(key, _Session(task, pid, _stream(task["device"])))
        with session.busy:
            report = self._next(session)
            notes = session.notes.copy()
            session.notes.clear()  # the list is the training's too
        return {**report, "notes": notes}

    def close(self, key: str) -> None:
        """The worker is done with its trial."""
        with self._changed:
            self._sessions.pop(key, None)
            self._changed.notify_all()
        _free()

    def forget_the_dead(self) -> int:
        """Lets go of trials whose workers are no more, after their epoch; how many others there are."""
        with self._changed:
            dead = [
                key
                for key, session in self._sessions.items()
                if not session.busy.locked() and not psutil.pid_exists(session.pid)
            ]
            for key in dead:
                del self._sessions[key]
            if dead:
                self._changed.notify_all()
            return len(self._sessions)

    def _next(self, session: _Session) -> dict[str, Any]:
        if session.epochs is None and not self._has_room(session):
            return {"waits": True}
        assert session.epochs is not None
        with self._changed:
            session.beside = self._training() - 1
        try:
            with torch.cuda.stream(session.stream):
                for epoch, metrics in session.epochs:
                    session.task = {**session.task, "logged": epoch}
                    return {"epoch": epoch, **metrics}
                return {"ended": True}
        except Diverged as error:
            return {"diverged": str(error)}
        except StorageError as error:
            return {"storage": str(error)}
        except torch.OutOfMemoryError:
            if not self._gives_way(session):
                raise
        except torch.AcceleratorError:
            # Nothing works any more in a process whose GPU has failed: the next worker starts another.
            threading.Timer(1, os._exit, [1]).start()
            raise
        _free()
        return {"waits": True}

    def _has_room(self, session: _Session) -> bool:
        """Begins, or begins again from the checkpoint, once fewer train than have room; waits a while.

        A trial whose last worker died within an epoch waits for the end of that, too.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._may_begin(session), _PATIENCE):
                return False
            assert self._splits is not None
            session.epochs = self._train(session.task, *self._splits, session.notes)
            others = self._training() - 1
            for each in self._sessions.values():
                each.beside = max(each.beside, others)
        return True

    def _gives_way(self, session: _Session) -> bool:
        """Lets go of what a trial has on the GPU, to go on when another ends; not if it was alone."""
        with self._changed:
            session.epochs = None
            self._changed.notify_all()
            # Those beside it may have ended since, or have met the same.
            room = session.beside
            if room and room < self._most:
                self._most = room
                trials = "one trial" if room == 1 else f"{room} trials"
                session.notes.append(
                    f"{THE_GPU}'s memory has room for {trials} at once, not for {room + 1}; the others wait"
                )
            return room > 0

    def _may_begin(self, session: _Session) -> bool:
        folder = session.task["folder"]
        others = [other for other in self._sessions.values() if other is not session]
        return self._training() < self._most and all(other.task["folder"] != folder for other in others)

    def _training(self) -> int:
        return sum(session.epochs is not None for session in self._sessions.values())


class _Actor(Host):
    """A host that ends when nobody needs it any more: its launch may have been killed."""

    def __init__(self) -> None:
        from rtune.worker.loop import epochs  # which itself needs this module

        super().__init__(epochs)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        needed = time.monotonic()
        while time.monotonic() - needed < _IDLE:
            time.sleep(1)
            if self.forget_the_dead():
                needed = time.monotonic()
        os._exit(0)


def epochs(task: dict[str, Any], data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Has the host of this worker's GPU train a trial; its reports as `Host.advance` gives them.

    Raises:
        Diverged, StorageError: as `rtune.worker.loop.epochs`.
    """
    repeatable = task["config"]["training"]["deterministic"]
    host, key = _host(repeatable), uuid.uuid4().hex
    try:
        while True:
            report = ray.get(host.advance.remote(key, os.getpid(), task))
            if report is None:
                ray.get(host.give.remote(data, task["device"], repeatable))
            elif "diverged" in report:
                raise Diverged(report["diverged"])
            elif "storage" in report:
                raise StorageError(report["storage"])
            elif "ended" in report:
                return
            else:
                yield report
    finally:
        host.close.remote(key)


def dismiss() -> None:
    """Ends the hosts that this launch's workers have started."""
    # They end by themselves too, if later: Ray may be what has failed.
    with contextlib.suppress(Exception):
        for name in ray.util.list_named_actors():
            if name.startswith(PREFIX):
                ray.kill(ray.get_actor(name))


def _host(repeatable: bool) -> Any:
    node = ray.get_runtime_context().get_node_id()
    card = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    # Of no worker's, or it would end with that one.
    return (
        ray.remote(_Actor)
        .options(
            name=f"{PREFIX}{node}-{card}-{repeatable}",
            get_if_exists=True,
            lifetime="detached",
            num_cpus=0,
            max_concurrency=_MOST,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            runtime_env={
                "env_vars": {"CUDA_VISIBLE_DEVICES": card, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
            },
        )
        .remote()
    )


def _stream(device: str) -> "torch.cuda.Stream | None":
    return torch.cuda.Stream() if device == "cuda" else None


def _free() -> None:
    """Gives back what trials have left on the GPU."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
