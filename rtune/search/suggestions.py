"""Suggested values of new trials, from an Optuna study that is rebuilt from the trials so far.

The early results of an unfinished trial would mislead the sampler. The study therefore holds a forecast of
its final objectives (`rtune.search.forecast`).
"""

import json
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from rtune.config import catalog
from rtune.config.catalog import SAMPLERS
from rtune.run.ledger import Trial
from rtune.search import optuna_space
from rtune.search.forecast import Forecast
from rtune.search.plan import Plan, Values

optuna.logging.set_verbosity(optuna.logging.WARNING)

# A diverged trial is this far below the worst of all others, in ranges of each objective (at least 1).
_BROKEN = 1.0


class Suggester(Protocol):
    """Suggests values of new trials."""

    def suggest(self, known: Iterable[Trial], point: Values) -> tuple[Values, dict[str, Any], str]:
        """See `OptunaSuggester.suggest`."""


class OptunaSuggester:
    """Suggests values by a plan's sampler. Stateless: suggestions depend on the plan and the trials alone."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._distributions = {path: optuna_space.distribution(r) for path, r in plan.ranges.items()}

    def suggest(self, known: Iterable[Trial], point: Values) -> tuple[Values, dict[str, Any], str]:
        """Searched values of a new trial (dotted path -> value), facts and source.

        Args:
            known: the trials so far.
            point: given values (dotted path -> value); the others are sampled.

        Returns:
            The values; Optuna's attributes of the trial, which later suggestions need; and the source:
            `point` if any value was given, else the name of the sampler.
        """
        trials = list(known)
        seed, draw = np.random.SeedSequence([self._plan.seed, len(trials)]).generate_state(2).tolist()
        part = _drawn(SAMPLERS[self._plan.sampler], draw / 2**32)
        given = self._plan.sampler_settings if part.name == self._plan.sampler else {}
        study = optuna.create_study(
            directions=["maximize"] * len(self._plan.objectives),
            sampler=part.load()(seed=seed, **{**part.defaults(), **given}),
        )
        if part.informed:
            study.add_trials(self.observations(trials))
        inside = self._plan.inside(point)
        if inside:
            study.enqueue_trial(inside)
        asked = study.ask()
        values = dict(point)
        for path, domain in self._plan.ranges.items():
            outside = path in point and path not in inside  # such a value is not part of the study
            if not outside and self._plan.is_active(path, values):
                values[path] = optuna_space.suggest(asked, path, domain)
        facts = study.get_trials(deepcopy=False)[asked.number].system_attrs
        return values, facts, "point" if point else part.name

    def observations(self, trials: list[Trial]) -> list[FrozenTrial]:
        """The trials as the study holds them: stopped and running ones with their forecast."""
        objectives, end = self._plan.objectives, self._plan.max_epochs
        finished = [t.curve(objectives) for t in trials if t.status == "finished" and t.epoch == end]
        forecast = Forecast(finished)
        points: dict[str, np.ndarray] = {}
        for trial in trials:
            if trial.epoch and trial.status not in ("failed", "diverged"):
                last = trial.curve(objectives)[-1]
                points[trial.id] = last if trial.epoch >= end else forecast(trial.epoch, last)
        seen = np.array(list(points.values())).reshape(-1, len(objectives))
        worst = (
            seen.min(axis=0) - _BROKEN * np.ptp(seen, axis=0).clip(1)
            if len(seen)
            else np.full(len(objectives), -_BROKEN)
        )
        return [
            self._frozen(trial, worst if trial.status == "diverged" else points.get(trial.id))
            for trial in trials
        ]

    def _frozen(self, trial: Trial, point: np.ndarray | None) -> FrozenTrial:
        inside = self._plan.inside(trial.values)
        state = TrialState.RUNNING if point is None else TrialState.COMPLETE
        if trial.status == "failed":
            state = TrialState.FAIL
        return create_trial(
            state=state,
            values=[float(v) for v in point] if state == TrialState.COMPLETE and point is not None else None,
            params=inside,
            distributions={path: self._distributions[path] for path in inside},
            system_attrs=json.loads(json.dumps(trial.facts)),
        )


def _drawn(part: catalog.Sampler, draw: float) -> catalog.Sampler:
    """The sampler itself or, if it mixes several, the one that `draw` in [0, 1) selects by their shares."""
    if not part.mixes:
        return part
    *others, last = part.mixes
    for name in others:
        if draw < part.mixes[name]:
            return SAMPLERS[name]
        draw -= part.mixes[name]
    return SAMPLERS[last]
