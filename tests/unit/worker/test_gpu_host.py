"""The host of a shared GPU: which trial trains when, and what is freed. The trainings are simulated here."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from rtune.robust import Diverged
from rtune.storage.places import StorageError
from rtune.worker import gpu_host, messages
from rtune.worker.gpu_host import Host
from rtune.worker.messages import Note
from rtune.worker.task import Task

DATA = {name: (np.zeros((4, 1, 8, 8), np.uint8), np.zeros(4, np.int64)) for name in ("train", "validation")}


class Memory:
    """Trainings of three epochs each, of which so many at once find room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.held = 0
        self.most = 0
        self.lock = threading.Lock()

    def epochs(
        self, task: Task, train: object, validation: object, notes: list[Note]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        with self.lock:
            if self.held == self.room:
                raise torch.OutOfMemoryError("no room")
            self.held += 1
            self.most = max(self.most, self.held)
        try:
            for epoch in range(task.logged + 1, 4):
                yield epoch, {"loss": 0.5}
        finally:
            with self.lock:
                self.held -= 1


def task(name: str, logged: int = 0) -> Task:
    return Task(name, 1, {}, run="/runs", folder=f"/runs/{name}", max_epochs=3, logged=logged)


def host(train: gpu_host.Epochs) -> Host:
    made = Host(train)
    made.give(DATA, "cpu", False)
    return made


def trained(one: Host, name: str) -> tuple[list[int], list[Note]]:
    """Epochs and notes of a trial taken to its end, as its worker takes it."""
    found: list[int] = []
    notes: list[Note] = []
    while True:
        answer = one.advance(name, os.getpid(), task(name))
        if isinstance(answer, messages.Ended):
            one.close(name)
            return found, notes
        assert isinstance(answer, messages.Epoch | messages.Waits)
        notes += answer.notes
        if isinstance(answer, messages.Epoch):
            found.append(answer.epoch)


def test_gpu_host_loads_the_images_once() -> None:
    one = Host(Memory(1).epochs)
    assert one.advance("a", os.getpid(), task("a")) == messages.NeedsData()
    one.give(DATA, "cpu", False)
    assert trained(one, "a") == ([1, 2, 3], [])


@pytest.mark.parametrize("room", [1, 2, 5])
def test_trials_wait_and_do_not_fail_if_gpu_memory_is_full(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_host, "_WAIT_SECONDS", 0.05)
    memory = Memory(room)
    one = host(memory.epochs)
    found: dict[str, tuple[list[int], list[Note]]] = {}
    begun = threading.Barrier(5)

    def work(name: str) -> None:
        begun.wait()
        found[name] = trained(one, name)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcde"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {name: epochs for name, (epochs, _) in found.items()} == {name: [1, 2, 3] for name in "abcde"}
    assert memory.most <= room
    notes = {note for _, said in found.values() for note in said}
    assert all(note.text.startswith("the GPU's memory has room for ") for note in notes)
    assert {note.about for note in notes} <= {"gpu"}


def test_trial_that_ran_out_of_memory_continues_after_its_reported_epochs() -> None:
    memory = Memory(2)
    one = host(memory.epochs)
    for name in "ab":
        assert one.advance(name, os.getpid(), task(name)) == messages.Epoch(1, {"loss": 0.5})
    memory.room = 1  # b outgrows the memory in its second epoch

    def full() -> Iterator[tuple[int, dict[str, Any]]]:
        raise torch.OutOfMemoryError
        yield

    b = one._sessions["b"]
    b.epochs = full()
    memory.held -= 1
    report = one.advance("b", os.getpid(), task("b"))
    note = Note("the GPU's memory has room for one trial at once, not for 2; the others wait", about="gpu")
    assert report == messages.Waits((note,))
    assert trained(one, "a")[0] == [2, 3]
    assert trained(one, "b") == ([2, 3], [])


def test_single_trial_without_enough_memory_fails() -> None:
    one = host(Memory(0).epochs)
    with pytest.raises(torch.OutOfMemoryError):
        one.advance("a", os.getpid(), task("a"))


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (Diverged("x"), messages.Diverged("x", (Note("a checkpoint is damaged"),))),
        (StorageError("x"), messages.StorageFailed("x")),
    ],
)
def test_error_of_a_trial_is_reported(error: Exception, answer: messages.Answer) -> None:
    def epochs(*args: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        args[-1].append(Note("a checkpoint is damaged"))
        raise error
        yield

    assert host(epochs).advance("a", os.getpid(), task("a")) == answer


def test_dead_worker_is_removed_and_its_trial_continues_on_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpu_host, "_WAIT_SECONDS", 0.05)
    memory = Memory(1)
    one = host(memory.epochs)
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert one.advance("first", worker.pid, task("a")) == messages.Epoch(1, {"loss": 0.5})
    assert one.advance("second", os.getpid(), task("a", 1)) == messages.Waits()
    worker.communicate()
    assert one.advance("second", os.getpid(), task("a", 1)) == messages.Epoch(2, {"loss": 0.5})
    assert one.remove_dead_workers() == 1
    assert memory.held == 1
