"""The methods that rtune is compared with, each as implemented in its own package.

A sampler proposes values. The nearest recorded setting that no trial has used is trained instead, and the
sampler receives the values of that setting. Random search draws settings without replacement.
"""

import datetime
import itertools
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from benchmarks.search.simulation import Method, Task
from benchmarks.search.tables import Table
from rtune.config.ranges import Choice
from rtune.search import optuna_space

Point = np.ndarray
# The first rung in epochs, and the reduction factor eta.
GRACE, ETA = 1, 3
# Optional package -> the methods that need it.
PACKAGES = {"syne_tune": ("Syne Tune MOASHA", "MOASHA, ranks mended"), "smac": ("SMAC ParEGO",)}


class RandomOrder:
    """Random search: full trainings of the settings in random order."""

    def __init__(self, table: Table, seed: int) -> None:
        self.table = table
        self._order = [int(i) for i in np.random.default_rng(seed).permutation(len(table.settings))]
        self._given = 0

    def next_task(self) -> Task | None:
        if self._given == len(self._order):
            return None
        self._given += 1
        return Task(f"t{self._given}", self._order[self._given - 1])

    def report(self, trial: str, epoch: int, point: Point) -> bool:
        return True

    def diverged(self, trial: str) -> None:
        """Does nothing."""


class ASHA(RandomOrder):
    """Asynchronous successive halving of Ray Tune (ASHA, arXiv 1810.05934) on a scalar, in random order.

    Grace period 1 and eta 3 are the defaults of Syne Tune's MOASHA.

    Args:
        table: the recorded settings.
        seed: of the order.
        score: maps objectives (n,) to the scalar to be maximised.
    """

    def __init__(self, table: Table, seed: int, score: Callable[[Point], float]) -> None:
        super().__init__(table, seed)
        # Imported here, because the import of Ray takes seconds and other methods do not need it.
        from ray.tune.schedulers import ASHAScheduler

        self._score = score
        # Any: the scheduler gets trials without a controller.
        self._scheduler: Any = ASHAScheduler(
            metric="score", mode="max", max_t=table.max_epochs, grace_period=GRACE, reduction_factor=ETA
        )

    def next_task(self) -> Task | None:
        task = super().next_task()
        if task is not None:
            self._scheduler.on_trial_add(None, SimpleNamespace(trial_id=task.trial))
        return task

    def report(self, trial: str, epoch: int, point: Point) -> bool:
        result = {"training_iteration": epoch, "score": self._score(point)}
        decision = self._scheduler.on_trial_result(None, SimpleNamespace(trial_id=trial), result)
        return bool(decision != "STOP")


class MOASHA(RandomOrder):
    """MOASHA of Syne Tune (arXiv 2106.12639), with its default priority, in random order.

    Args:
        table: the recorded settings.
        seed: of the order.
        mended: whether to correct an error of version 0.16, which confuses the order of the trials with their
            ranks: among (1, 1), (2, 2), (3, 3), all minimised, the new trial (0, 0) gets rank three and is
            stopped. Both versions are measured.
    """

    def __init__(self, table: Table, seed: int, mended: bool = False) -> None:
        super().__init__(table, seed)
        from syne_tune.backend.trial_status import Trial
        from syne_tune.config_space import uniform
        from syne_tune.optimizer.schedulers.multiobjective import moasha
        from syne_tune.optimizer.schedulers.multiobjective import non_dominated_priority as sorting

        class Ranks(moasha.NonDominatedPriority):  # type: ignore[misc]
            def priority_unsafe(self, objectives: np.ndarray) -> np.ndarray:
                ranks, better = np.empty(len(objectives)), 0
                for front in sorting.nondominated_sort(objectives, dim=self.dim, flatten=False):
                    ranks[front] = better + sorting.compute_epsilon_net(objectives[front], dim=self.dim)
                    better += len(front)
                return ranks

        self._scheduler = moasha.MOASHA(
            # The settings come from the table in random order; the scheduler only stops trials.
            {"unused": uniform(0, 1)},
            metrics=list(table.objectives),
            do_minimize=False,
            max_t=table.max_epochs,
            grace_period=GRACE,
            reduction_factor=ETA,
            multiobjective_priority=Ranks() if mended else None,
            random_seed=seed,
        )
        self._make = Trial
        self._trials: dict[str, Any] = {}

    def next_task(self) -> Task | None:
        task = super().next_task()
        if task is not None:
            trial = self._make(len(self._trials), {}, datetime.datetime.now())
            self._trials[task.trial] = trial
            self._scheduler.on_trial_add(trial)
        return task

    def report(self, trial: str, epoch: int, point: Point) -> bool:
        figures = dict(zip(self.table.objectives, map(float, point), strict=True))
        result = {"training_iteration": epoch, **figures}
        return bool(self._scheduler.on_trial_result(self._trials[trial], result) != "STOP")


class Proposing:
    """Base class of samplers that train each proposed setting fully."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._unused = list(range(len(table.settings)))
        self._trials: dict[str, Any] = {}

    def propose(self) -> dict[str, Any] | None:
        """Values of the next trial; None if the sampler has no more."""
        raise NotImplementedError

    def begin(self, values: dict[str, Any]) -> Any:
        """Receives the values that are trained instead of the proposal; returns the key for `tell`."""
        raise NotImplementedError

    def tell(self, key: Any, point: Point | None) -> None:
        """Receives the objectives of the last epoch; None if the trial diverged."""
        raise NotImplementedError

    def next_task(self) -> Task | None:
        if not self._unused or (values := self.propose()) is None:
            return None
        setting = self.table.nearest(values, self._unused)
        self._unused.remove(setting)
        name = f"t{len(self._trials)}"
        self._trials[name] = self.begin(self.table.settings[setting].values)
        return Task(name, setting)

    def report(self, trial: str, epoch: int, point: Point) -> bool:
        if epoch == self.table.max_epochs:
            self.tell(self._trials[trial], point)
        return True

    def diverged(self, trial: str) -> None:
        self.tell(self._trials[trial], None)


class Optuna(Proposing):
    """A multi-objective Optuna sampler, with full trainings."""

    def __init__(self, table: Table, sampler: optuna.samplers.BaseSampler) -> None:
        super().__init__(table)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(sampler=sampler, directions=["maximize"] * len(table.objectives))
        self._distributions = {p: optuna_space.distribution(r) for p, r in table.ranges.items()}

    def propose(self) -> dict[str, Any]:
        asked = self._study.ask()
        values: dict[str, Any] = {}
        for path, domain in self.table.ranges.items():
            if self.table.is_active(path, values):
                values[path] = optuna_space.suggest(asked, path, domain)
        self._attributes = dict(self._study.trials[asked.number].system_attrs)
        self._study.tell(asked, state=TrialState.FAIL)
        return values

    def begin(self, values: dict[str, Any]) -> int:
        number = len(self._study.trials)
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=values,
                distributions={path: self._distributions[path] for path in values},
                system_attrs=self._attributes,
            )
        )
        return number

    def tell(self, key: int, point: Point | None) -> None:
        if point is None:
            self._study.tell(key, state=TrialState.FAIL)
        else:
            self._study.tell(key, [float(v) for v in point])


class SMAC(Proposing):
    """SMAC3's hyperparameter facade with ParEGO, its multi-objective method, with full trainings."""

    def __init__(self, table: Table, seed: int, trials: int) -> None:
        super().__init__(table)
        import ConfigSpace
        from smac import HyperparameterOptimizationFacade, Scenario
        from smac.multi_objective.parego import ParEGO

        space = ConfigSpace.ConfigurationSpace(seed=seed)
        parameters: dict[str, Any] = {}
        for path, domain in table.ranges.items():
            if isinstance(domain, Choice):
                parameters[path] = ConfigSpace.Categorical(path, [str(v) for v in domain.values])
            else:
                parameters[path] = ConfigSpace.Float(path, (domain.low, domain.high), log=domain.log)
        space.add(list(parameters.values()))
        for path, (selector, opening) in table.openers.items():
            condition = ConfigSpace.InCondition(
                parameters[path], parameters[selector], [str(v) for v in opening]
            )
            space.add(condition)
        self._space = space
        # When all configurations of a small space are used, SMAC would search for a new one without end.
        few = list(itertools.islice(_configurations(table, list(table.ranges), {}), len(table.settings) + 1))
        self._left = len(few) if len(few) <= len(table.settings) else len(table.settings)
        self._texts = {
            p: {str(v): v for v in r.values} for p, r in table.ranges.items() if isinstance(r, Choice)
        }
        log = logging.getLogger("smac")
        log.addHandler(logging.NullHandler())
        log.propagate = False
        # SMAC writes its settings when it is created; with `save` off it writes nothing later.
        with tempfile.TemporaryDirectory() as folder:
            scenario = Scenario(
                space,
                objectives=list(table.objectives),
                n_trials=max(trials, 8),
                seed=seed,
                deterministic=True,
                output_directory=Path(folder),
            )
            self._facade = HyperparameterOptimizationFacade(
                scenario,
                lambda config, seed=0: 0.0,
                multi_objective_algorithm=ParEGO(scenario),
                overwrite=True,
                logging_level=False,
            )

    def propose(self) -> dict[str, Any] | None:
        from smac.main.exceptions import ConfigurationSpaceExhaustedException

        if self._left == 0:
            return None
        self._left -= 1
        try:
            with warnings.catch_warnings():
                # Means of empty arrays, in numbers that SMAC logs.
                warnings.simplefilter("ignore", RuntimeWarning)
                self._asked = self._facade.ask()
        except (StopIteration, ConfigurationSpaceExhaustedException):
            return None  # all values of a small space without continuous ranges have been used
        values = {}
        for path, value in dict(self._asked.config).items():
            values[path] = self._texts[path][str(value)] if path in self._texts else float(value)
        return values

    def begin(self, values: dict[str, Any]) -> Any:
        import ConfigSpace
        from smac.runhistory.dataclasses import TrialInfo

        texts = {p: str(v) if p in self._texts else float(v) for p, v in values.items()}
        try:
            config = ConfigSpace.Configuration(self._space, values=texts)
        except ValueError:
            config = self._asked.config  # a row that breaks the conditions seen in the others
        return TrialInfo(config, seed=self._asked.seed)

    def tell(self, key: Any, point: Point | None) -> None:
        from smac.runhistory.dataclasses import TrialValue
        from smac.runhistory.enumerations import StatusType

        costs = [1.0] * len(self.table.objectives) if point is None else [1.0 - float(v) for v in point]
        status = StatusType.CRASHED if point is None else StatusType.SUCCESS
        self._facade.tell(key, TrialValue(cost=costs, status=status), save=False)


def _configurations(table: Table, paths: list[str], chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All combinations of values of the columns; infinitely many if a column has a continuous range."""
    if not paths:
        yield chosen
        return
    path, *rest = paths
    if not table.is_active(path, chosen):
        yield from _configurations(table, rest, chosen)
        return
    domain = table.ranges[path]
    for value in domain.values if isinstance(domain, Choice) else itertools.count():
        yield from _configurations(table, rest, chosen | {path: value})


def methods(table: Table, budget: int) -> dict[str, Callable[[int], Method]]:
    """Name -> function that creates a method from a seed; for optional packages see `PACKAGES`.

    Args:
        table: the recorded settings.
        budget: number of epochs of the search; it sets the size of SMAC's initial design.
    """

    def asha(score: Callable[[Point], float]) -> Callable[[int], Method]:
        return lambda seed: ASHA(table, seed, score)

    full_trainings = budget // table.max_epochs
    found: dict[str, Callable[[int], Method]] = {"random, full length": lambda seed: RandomOrder(table, seed)}
    for i, name in enumerate(table.objectives):
        found[f"ASHA on {name}"] = asha(lambda point, i=i: float(point[i]))  # type: ignore[misc]
    found["ASHA on the mean"] = asha(lambda point: float(point.mean()))
    found["Syne Tune MOASHA"] = lambda seed: MOASHA(table, seed)
    found["MOASHA, ranks mended"] = lambda seed: MOASHA(table, seed, mended=True)
    samplers = optuna.samplers
    found["Optuna NSGA-II"] = lambda seed: Optuna(table, samplers.NSGAIISampler(seed=seed))
    found["Optuna TPE"] = lambda seed: Optuna(
        table, samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
    )
    found["Optuna GP"] = lambda seed: Optuna(table, samplers.GPSampler(seed=seed))
    found["SMAC ParEGO"] = lambda seed: SMAC(table, seed, full_trainings)
    return found
