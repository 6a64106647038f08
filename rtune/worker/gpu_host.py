"""Trials that share a GPU are trained by one process, each on a thread and a CUDA stream of its own.

Kernels of a small network leave most of a GPU idle. Kernels of several streams run at the same time, whereas
those of several processes take turns. So each trial that asks for a part of a GPU still has a worker, which
Ray schedules and monitors, but the GPU's host trains its epochs. The first such worker starts the host
(`rtune.worker.gpu_actor`).
"""

import contextlib
import gc
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import psutil
import torch

from rtune.robust import Diverged, Split
from rtune.robust.random import deterministic
from rtune.storage.places import StorageError
from rtune.worker import build, loop, messages
from rtune.worker.messages import Answer, Note
from rtune.worker.task import Task

# Trials that can share a GPU: more than anyone has use for.
MAX_TRIALS = 64
# Seconds that a call waits for free memory before it answers `Waits`.
_WAIT_SECONDS = 10.0

Epochs = Callable[[Task, Split, Split, list[Note]], Iterator[tuple[int, dict[str, Any]]]]


@dataclass
class _Session:
    """The trial of one worker.

    Attributes:
        task: the trial.
        pid: process id of the worker.
        stream: None on a CPU.
        notes: not yet reported.
        epochs: what is left to train; None before the start and while the trial waits for memory.
        others: the largest number of other trials that were on the GPU during the current epoch.
        busy: held during a call of the worker.
    """

    task: Task
    pid: int
    stream: "torch.cuda.Stream | None"
    notes: list[Note] = field(default_factory=list)
    epochs: Iterator[tuple[int, dict[str, Any]]] | None = None
    others: int = 0
    busy: threading.Lock = field(default_factory=threading.Lock)

    def new_notes(self) -> tuple[Note, ...]:
        """Those since the last call."""
        found = tuple(self.notes)
        self.notes.clear()  # in place: the training appends to the same list
        return found


class Host:
    """Trains the trials that share one GPU.

    Args:
        train: generator of a trial's epochs.
    """

    def __init__(self, train: Epochs = loop.epochs) -> None:
        self._train = train
        self._splits: tuple[Split, Split] | None = None
        self._sessions: dict[str, _Session] = {}
        self._changed = threading.Condition()
        self._room = MAX_TRIALS
        self._settings = contextlib.ExitStack()

    def give(self, data: dict[str, Any], device: str, repeatable: bool) -> None:
        """Sets the images that all trials train on, and whether they train with `deterministic`."""
        with self._changed:
            if self._splits is None:
                self._settings.enter_context(deterministic(repeatable))
                self._splits = build.unpack(data, torch.device(device))

    def advance(self, key: str, pid: int, task: Task) -> Answer:
        """Trains the next epoch of a worker's trial.

        Args:
            key: identifies the worker's session; the first call with it begins the session.
            pid: process id of the worker.
            task: the trial.
        """
        if self._splits is None:
            return messages.NeedsData()
        with self._changed:
            self.remove_dead_workers()
            session = self._sessions.setdefault(key, _Session(task, pid, _stream(task.device)))
        with session.busy:
            return self._next(session)

    def close(self, key: str) -> None:
        """Ends a worker's session and frees its memory."""
        with self._changed:
            self._sessions.pop(key, None)
            self._changed.notify_all()
        _free()

    def remove_dead_workers(self) -> int:
        """Removes the sessions of workers that no longer exist, once their epoch has ended.

        Returns:
            The number of sessions that are left.
        """
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

    def _next(self, session: _Session) -> Answer:
        if session.epochs is None and not self._begin(session):
            return messages.Waits(session.new_notes())
        assert session.epochs is not None
        with self._changed:
            session.others = self._training() - 1
        try:
            with torch.cuda.stream(session.stream):
                for epoch, metrics in session.epochs:
                    session.task = replace(session.task, logged=epoch)
                    return messages.Epoch(epoch, metrics, session.new_notes())
                return messages.Ended()
        except Diverged as error:
            return messages.Diverged(str(error), session.new_notes())
        except StorageError as error:
            return messages.StorageFailed(str(error))
        except torch.OutOfMemoryError:
            if not self._postpone(session):
                raise
        except torch.AcceleratorError:
            # After an error of the GPU nothing works in this process: the next worker starts another host.
            threading.Timer(1, os._exit, [1]).start()
            raise
        _free()
        return messages.Waits(session.new_notes())

    def _begin(self, session: _Session) -> bool:
        """Begins the trial, or continues it from its checkpoint, once the GPU has room for it.

        False if it has none within `_WAIT_SECONDS`. A trial whose previous worker died during an epoch waits
        for the end of that epoch too.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._may_begin(session), _WAIT_SECONDS):
                return False
            assert self._splits is not None
            session.epochs = self._train(session.task, *self._splits, session.notes)
            others = self._training() - 1
            for each in self._sessions.values():
                each.others = max(each.others, others)
        return True

    def _postpone(self, session: _Session) -> bool:
        """Frees the memory of a trial that ran out of it, to continue when another trial ends.

        False if it was alone on the GPU: waiting would not help.
        """
        with self._changed:
            session.epochs = None
            self._changed.notify_all()
            # Those that ran at the same time may have ended since, or run out of memory too.
            room = session.others
            if room and room < self._room:
                self._room = room
                trials = "one trial" if room == 1 else f"{room} trials"
                text = f"the GPU's memory has room for {trials} at once, not for {room + 1}; the others wait"
                session.notes.append(Note(text, about="gpu"))
            return room > 0

    def _may_begin(self, session: _Session) -> bool:
        folder = session.task.folder
        others = [other for other in self._sessions.values() if other is not session]
        return self._training() < self._room and all(other.task.folder != folder for other in others)

    def _training(self) -> int:
        return sum(session.epochs is not None for session in self._sessions.values())


def _stream(device: str) -> "torch.cuda.Stream | None":
    return torch.cuda.Stream() if device == "cuda" else None


def _free() -> None:
    """Returns unused memory to the GPU."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
