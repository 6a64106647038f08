"""The methods that rtune is measured against, each as it comes from its own package.

A sampler of a package proposes values; what is trained is the nearest recorded setting that no trial has
had yet, and that setting's values are what the sampler is told. Random ones draw without replacement.
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

from benchmarks.searching.simulation import Method, Task
from benchmarks.searching.tables import Table
from rtune.config.ranges import Choice
from rtune.search import optuna_space

Point = np.ndarray
# The first rung, and one in how many goes on from a rung.
GRACE, ETA = 1, 3
# Package -> the methods that need it, which rtune itself does not.
PACKAGES = {"syne_tune": ("Syne Tune MOASHA", "MOASHA, ranks mended"), "smac": ("SMAC ParEGO",)}


class RandomOrder:
    """Every setting to its end, in random order: random search."""

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
        """Nothing to learn from it."""


class ASHA(RandomOrder):
    """Ray Tune's asynchronous successive halving (arXiv 1810.05934) on one number, in random order.

    Grace 1 and eta 3 are the settings that Syne Tune's MOASHA has by default.

    Args:
        table: the recorded settings.
        seed: of the order.
        score: the number, from a point (objectives,); larger is better.
    """

    def __init__(self, table: Table, seed: int, score: Callable[[Point], float]) -> None:
        super().__init__(table, seed)
        # Ray takes seconds to import, which the other methods need not wait for.
        from ray.tune.schedulers import ASHAScheduler

        self._score = score
        # Any: it is told of trials that no controller runs.
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
        mended: version 0.16 takes the order of the trials, best first, for their ranks, and within a
            front ranks for an order: beside (1, 1), (2, 2) and (3, 3), all minimised, the newcomer
            (0, 0) counts as third and is stopped. True gives it ranks, so that the method is measured
            too and not only the slip.
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
            # Settings come in random order from the table, the scheduler only stops them.
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
    """A sampler that trains what it proposes to the end, from the recorded settings."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._unused = list(range(len(table.settings)))
        self._trials: dict[str, Any] = {}

    def propose(self) -> dict[str, Any] | None:
        """Values of the next trial; None if the sampler has no other ones."""
        raise NotImplementedError

    def begin(self, values: dict[str, Any]) -> Any:
        """Notes what is trained instead of the proposal; what `tell` needs to name it."""
        raise NotImplementedError

    def tell(self, key: Any, point: Point | None) -> None:
        """Takes in the last epoch's objectives, None if the trial diverged."""
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
    """An Optuna sampler, multi-objective, at full length."""

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
    """SMAC3's facade for hyperparameters with ParEGO, its multi-objective method, at full length."""

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
        # Once all configurations of a small space are under way, SMAC would look for another one for ever.
        few = list(itertools.islice(_configurations(table, list(table.ranges), {}), len(table.settings) + 1))
        self._left = len(few) if len(few) <= len(table.settings) else len(table.settings)
        self._texts = {
            p: {str(v): v for v in r.values} for p, r in table.ranges.items() if isinstance(r, Choice)
        }
        log = logging.getLogger("smac")
        log.addHandler(logging.NullHandler())
        log.propagate = False
        # It writes its settings when it is made, and nothing later when told not to save.
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
                # Means of nothing, in the figures of its own log.
                warnings.simplefilter("ignore", RuntimeWarning)
                self._asked = self._facade.ask()
        except (StopIteration, ConfigurationSpaceExhaustedException):
            return None  # a small space of choices alone
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
    """All values that the columns can have, one after the other; endless where a column has a range."""
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
    """Name -> maker of a method from a seed; `PACKAGES` says which need a package of their own.

    Args:
        table: the recorded settings.
        budget: epochs that the search will spend; SMAC sizes its initial design by it.
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
