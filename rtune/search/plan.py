"""The plan of a search: its space, objectives and limits, independent of where its trials run."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rtune.config import rungs
from rtune.config.finite import Space
from rtune.config.ranges import Range
from rtune.config.sections import EarlyStopping
from rtune.config.spec import Spec
from rtune.pareto.objectives import Objective
from rtune.run import changes, schema
from rtune.run.ledger import Ledger
from rtune.search.limits import Limits

Values = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """A search's space, objectives and limits.

    Attributes:
        objectives: objectives with their directions.
        max_epochs: epochs of a full training.
        trials: number of trials of the whole run.
        ranges: dotted path -> range. A path that names a part, such as `pruning.method`, comes before the
            settings of that part.
        is_active: whether a path applies, given the values chosen so far.
        sampler: name of a sampler of `rtune.config.catalog.SAMPLERS`.
        sampler_settings: the sampler's own settings; defaults for those that are not given.
        seed: seed of everything random in the search.
        early_stopping: settings of the rungs; None trains every trial to its end.
        former_ends: earlier values of `max_epochs` in this run, ascending.
        points: values that are tried first (dotted path -> value).
        metrics: names of the metrics in an epoch's record.
        space: the searched values if they are finitely many: no setting is then trained twice; else None.
        snap: maps suggested values to those that are trained, such as the nearest recorded ones; None to
            train the suggested values.
    """

    objectives: tuple[Objective, ...]
    max_epochs: int
    trials: int
    ranges: Mapping[str, Range]
    is_active: Callable[[str, Values], bool]
    sampler: str = "auto"
    sampler_settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    early_stopping: EarlyStopping | None = field(default_factory=EarlyStopping)
    former_ends: tuple[int, ...] = ()
    points: list[Values] = field(default_factory=list)
    metrics: tuple[str, ...] = field(default_factory=schema.epoch)
    space: Space | None = None
    snap: Callable[[Values], Values] | None = None

    def sampled_by(self, name: str, seed: int | None = None) -> "Plan":
        """The same plan with another sampler in its default settings, and with another seed if given."""
        return replace(self, sampler=name, sampler_settings={}, seed=self.seed if seed is None else seed)

    def rungs(self) -> list[int]:
        """Epochs of the rungs, ascending; none without early stopping."""
        if self.early_stopping is None:
            return []
        ends = [*self.former_ends, self.max_epochs]
        return rungs.lengthened(self.early_stopping.levels(ends[0]), self.early_stopping.eta, ends)

    def inside(self, values: Values) -> Values:
        """The values that lie in their ranges. Those of `points` may lie outside."""
        return {p: v for p, v in values.items() if p in self.ranges and self.ranges[p].holds(v)}


def launch_record(
    spec: Spec,
    plan: Plan,
    limits: Limits,
    concurrency: int,
    data: str,
    images: tuple[int, int],
    command: str,
    asked: str = "",
) -> dict[str, Any]:
    """The log record of the start of a launch.

    Args:
        spec: the search file.
        plan: the plan made from the search file and the limits.
        limits: limits of this launch.
        concurrency: trials that train at once.
        data: fingerprint of the data (`rtune.worker.build.fingerprint`).
        images: numbers of training and of validation images (`rtune.worker.build.images`).
        command: `search`, `resume` or `replicate`.
        asked: the command-line options that select the trials to train.
    """
    train_images, validation_images = images
    return {
        "kind": "launch",
        "time": round(time.time(), 3),
        "trials": limits.trials,
        "command": command,
        "asked": asked,
        "concurrency": concurrency,
        "max_epochs": plan.max_epochs,
        "rungs": plan.rungs(),
        "time_budget": limits.time_budget,
        "cpus_per_trial": limits.cpus_per_trial,
        "gpus_per_trial": limits.gpus_per_trial,
        "search": changes.fixed(spec),
        "data": data,
        "train_images": train_images,
        "validation_images": validation_images,
    }


def of_launch(spec: Spec, limits: Limits, ledger: Ledger) -> Plan:
    """The plan of a launch that continues the run of `ledger`."""
    tried = [trial.values for trial in ledger.own.values()]
    return of_spec(spec, limits.trials, ledger.ends(spec.max_epochs, limits.max_epochs), tried)


def of_spec(
    spec: Spec, trials: int | None = None, ends: Sequence[int] = (), tried: Sequence[Values] = ()
) -> Plan:
    """The plan of a search file.

    Args:
        spec: the search file.
        trials: number of trials of the whole run; None for the search file's.
        ends: the values of `max_epochs` in the launches so far and in this one, ascending; the search file's
            when empty.
        tried: values of the trials so far.
    """
    *former, max_epochs = ends or [spec.max_epochs]
    return Plan(
        objectives=spec.objectives,
        max_epochs=max_epochs,
        trials=spec.most_trials(spec.search.trials if trials is None else trials, tried),
        ranges=spec.ranges,
        is_active=spec.is_active,
        sampler=spec.search.sampler,
        sampler_settings=spec.search.settings("sampler"),
        seed=spec.search.seed,
        early_stopping=spec.search.early_stopping,
        former_ends=tuple(former),
        points=spec.points,
        space=spec.space if spec.space.is_finite else None,
    )
