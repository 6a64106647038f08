"""Searches in simulated time: workers that train recorded settings, and a method that directs them."""

import heapq
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from analysis.front import hypervolume
from benchmarks.searching.tables import Table


@dataclass(frozen=True)
class Task:
    """A setting to train from where it stands: `trial` names it, `setting` is its place in the table."""

    trial: str
    setting: int
    epoch: int = 0


class Method(Protocol):
    """A search method. Objectives are maximised, each at least 0."""

    def next_task(self) -> Task | None:
        """What a free worker does next; None if there is nothing now."""

    def report(self, trial: str, epoch: int, point: np.ndarray) -> bool:
        """Takes in an epoch's objectives; whether the trial goes on. Asked in a trial's last epoch too."""

    def diverged(self, trial: str) -> None:
        """A trial broke in the epoch after its last."""


def simulate(table: Table, method: Method, workers: int, budget: int) -> np.ndarray:
    """Runs a method until `budget` epochs are spent or it has nothing left.

    Simulated time is the recorded seconds of each epoch. The epoch in which a training diverges
    is spent too.

    Returns:
        (budget,), the hypervolume after each epoch spent. Only networks that were trained to their
        end count: a half-trained one is none that anybody would deploy.
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
    """Of the task's next epoch; one that diverges takes as long as the epoch before."""
    seconds = table.settings[task.setting].seconds
    return float(seconds[min(task.epoch, len(seconds) - 1)])
