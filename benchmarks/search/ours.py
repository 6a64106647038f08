"""The search of rtune, the same as on Ray, on a recorded table."""

from typing import Any

import numpy as np

from benchmarks.search.simulation import Task
from benchmarks.search.tables import Table
from rtune.config.sections import EarlyStopping
from rtune.pareto.objectives import Objective
from rtune.search.plan import Plan
from rtune.search.state import Search

DEFAULT = EarlyStopping()


class Rtune:
    """`rtune.search.state.Search` with the defaults of a search file.

    As with the other samplers, the nearest recorded setting that no trial has used is trained.

    Args:
        table: the recorded settings.
        seed: of the search.
        trials: largest number of trials; None for the number of settings in the table.
        early_stopping: as in a search file; None for none.
        sampler: as in a search file.
    """

    def __init__(
        self,
        table: Table,
        seed: int,
        trials: int | None = None,
        early_stopping: EarlyStopping | None = DEFAULT,
        sampler: str = "auto",
    ) -> None:
        self._table = table
        self._unused = list(range(len(table.settings)))
        self._settings: list[int] = []
        plan = Plan(
            objectives=tuple(Objective(name) for name in table.objectives),
            max_epochs=table.max_epochs,
            trials=min(trials or len(table.settings), len(table.settings)),
            ranges=table.ranges,
            is_active=table.is_active,
            sampler=sampler,
            seed=seed,
            early_stopping=early_stopping,
            metrics=table.objectives,
            snap=self._snap,
        )
        self.search = Search(plan, [], lambda record: None)

    def next_task(self) -> Task | None:
        trial = self.search.next_trial()
        if trial is None:
            return None
        return Task(trial.id, self._settings[int(trial.id[1:]) - 1], trial.epoch)

    def report(self, trial: str, epoch: int, point: np.ndarray) -> bool:
        figures = dict(zip(self._table.objectives, map(float, point), strict=True))
        return self.search.report(trial, epoch, figures)

    def diverged(self, trial: str) -> None:
        self.search.end(trial, "diverged", "as recorded")

    def _snap(self, values: dict[str, Any]) -> dict[str, Any]:
        setting = self._table.nearest(values, self._unused)
        self._unused.remove(setting)
        self._settings.append(setting)
        return self._table.settings[setting].values
