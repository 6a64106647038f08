"""Searches in simulated time: a method chooses what workers train, from recorded learning curves."""

import heapq
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from analysis.front import hypervolume
from benchmarks.search.tables import Table


@dataclass(frozen=True)
class Task:
    """A trial that starts or continues to train: its name, and the index of its setting in the table."""

    trial: str
    setting: int
    epoch: int = 0


class Method(Protocol):
    """A search method. Objectives are maximised, each at least 0."""

    def next_task(self) -> Task | None:
        """The task of a free worker; None if there is none at the moment."""

    def report(self, trial: str, epoch: int, point: np.ndarray) -> bool:
        """Receives the objectives (n,) of an epoch; returns whether the trial continues.

        Also called after the last epoch of a trial.
        """

    def diverged(self, trial: str) -> None:
        """Receives that a trial diverged in the epoch after the last reported one."""


def simulate(table: Table, method: Method, workers: int, budget: int) -> np.ndarray:
    """Runs a method until `budget` epochs have been trained or it has no more tasks.

    The simulated time of an epoch is its recorded time. The epoch in which a training diverges counts too.

    Returns:
        (budget,), the hypervolume after each epoch. Only fully trained networks count, because others would
        not be deployed.
    """
    events: list[tuple[float, int, Task]] = []
    idle, order, spent, now = workers, 0, 0, 0.0
    front: list[np.ndarray] = []
    reached = np.zeros(budget)
    volume = 0.0
    while True:
        while idle and (task := method.next_task()) is not None:
            heapq.heappush(events, (now + _seconds(table, task), order, task))
            idle, order = idle - 1, order + 1
        if not events or spent >= budget:
            break
        now, _, task = heapq.heappop(events)
        curve, epoch = table.settings[task.setting].curve, task.epoch + 1
        if epoch > len(curve):
            method.diverged(task.trial)
            go_on = False
        else:
            go_on = method.report(task.trial, epoch, curve[epoch - 1]) and epoch < table.max_epochs
            if epoch == table.max_epochs:
                front.append(curve[-1])
                volume = hypervolume(np.array(front))
        reached[spent] = volume
        spent += 1
        if go_on:
            task = Task(task.trial, task.setting, epoch)
            heapq.heappush(events, (now + _seconds(table, task), order, task))
            order += 1
        else:
            idle += 1
    reached[spent:] = volume
    return reached


def _seconds(table: Table, task: Task) -> float:
    """Seconds of the next epoch of a task; an epoch that diverges takes as long as the one before."""
    seconds = table.settings[task.setting].seconds
    return float(seconds[min(task.epoch, len(seconds) - 1)])
