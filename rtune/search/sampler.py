"""Suggestions from an Optuna study that is a fold over the run's log.

A trial that was stopped early has only early figures, which would mislead the sampler if told as
they are. It is told one whole unit lower in every objective: below every finished trial (the
objectives are fractions), yet in the right order among its like. A diverged one is told lower still.
"""

import json
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from rtune.ledger import Trial
from rtune.ranges import Choice, Range
from rtune.spec import Spec

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

STOPPED, BROKEN = -1.0, -2.0


class Sampler:
    """Suggests values and learns from trials that ended.

    Nothing is remembered that `add` and `tell` do not bring back: each suggestion's randomness
    comes from (seed, number of trials so far).
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._distributions = {path: _distribution(r) for path, r in spec.ranges.items()}
        self._study = optuna.create_study(directions=["maximize"] * len(spec.search.objectives))
        self._numbers: dict[str, int] = {}

    def suggest(self, trial: str, point: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Searched values of a new trial, and the facts that `add` needs to bring it back.

        `point` has values that are given (dotted path -> value); the others are sampled.
        """
        count = len(self._numbers)
        inside = self._inside(point)
        if inside:
            self._study.enqueue_trial(inside)
        seed = int(np.random.SeedSequence([self._spec.search.seed, count]).generate_state(1)[0])
        self._study.sampler = _optuna_sampler(self._spec.search.sampler, seed)
        asked = self._study.ask()
        values = dict(point)
        for path, domain in self._spec.ranges.items():
            given = path in point and path not in inside  # outside of the range: none of the study's
            if not given and self._spec.is_active(path, values):
                values[path] = _suggest(asked, path, domain)
        self._numbers[trial] = asked.number
        return values, self._study.trials[asked.number].system_attrs

    def add(self, trial: Trial) -> None:
        """Takes in a trial from the log."""
        inside = self._inside(trial.values)
        self._numbers[trial.id] = len(self._study.trials)
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=inside,
                distributions={path: self._distributions[path] for path in inside},
                system_attrs=json.loads(json.dumps(trial.facts)),
            )
        )

    def _inside(self, values: dict[str, Any]) -> dict[str, Any]:
        """Those values that lie in their ranges."""
        return {p: v for p, v in values.items() if p in self._spec.ranges and self._spec.ranges[p].holds(v)}

    def tell(self, trial: Trial) -> None:
        """Takes in the end of a trial: its last objectives, shifted as the module says."""
        number = self._numbers[trial.id]
        if trial.status == "failed":
            self._study.tell(number, state=TrialState.FAIL)
            return
        objectives = self._spec.search.objectives
        point: Sequence[float]
        if trial.status == "diverged":
            point = [BROKEN] * len(objectives)
        else:
            reached = trial.objectives(objectives)
            assert reached is not None
            shift = STOPPED if trial.status == "stopped" else 0.0
            point = [value + shift for value in reached]
        self._study.tell(number, point)


def _optuna_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=16)
    return optuna.samplers.TPESampler(
        seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=8
    )


def _distribution(domain: Range) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _suggest(asked: optuna.Trial, path: str, domain: Range) -> Any:
    if isinstance(domain, Choice):
        return asked.suggest_categorical(path, domain.values)
    if domain.integer:
        return asked.suggest_int(path, int(domain.low), int(domain.high), log=domain.log)
    return asked.suggest_float(path, domain.low, domain.high, log=domain.log)
