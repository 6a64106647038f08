"""What a search needs to know, whether its trials run on Ray or are recorded in a table."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rtune.config import rungs
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
        objectives: what is searched for, with directions.
        max_epochs: length of a full training.
        rungs: epochs of the rungs, ascending; none for no early stopping.
        trials: how many trials in all.
        ranges: dotted path -> range, selectors before what they open.
        is_active: whether a path applies, given the values chosen so far.
        sampler: of `rtune.config.catalog.SAMPLERS`.
        sampler_settings: its own settings.
        seed: of all that is random in the search.
        early_stopping: rungs; None trains every trial to its end.
        former_ends: lengths that a full training had before it was made longer, ascending.
        points: settings that are tried first.
        metrics: what a record of an epoch holds.
        snap: the setting that is trained instead of a suggested one; None for the suggested one.
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
    snap: Callable[[Values], Values] | None = None

    def rungs(self) -> list[int]:
        """Epochs of the rungs, ascending; none without early stopping."""
        if self.early_stopping is None:
            return []
        ends = [*self.former_ends, self.max_epochs]
        return rungs.lengthened(self.early_stopping.levels(ends[0]), self.early_stopping.eta, ends)

    def inside(self, values: Values) -> Values:
        """Those values that lie in their ranges; a point's may not."""
        return {p: v for p, v in values.items() if p in self.ranges and self.ranges[p].holds(v)}


def begin(
    spec: Spec,
    plan: Plan,
    limits: Limits,
    concurrency: int,
    data: str,
    images: tuple[int, int],
    command: str,
    asked: str = "",
) -> dict[str, Any]:
    """The record of a launch's begin.

    Args:
        spec: the search file.
        plan: made from it and the limits.
        limits: of this launch.
        concurrency: trials at once.
        data: `rtune.worker.build.fingerprint` of the data.
        images: `rtune.worker.build.images`: how many train, and how many measure.
        command: `search`, `resume` or `replicate`.
        asked: the options that say which trials it trains.
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
    """The plan of a launch over what the log says so far."""
    return of_spec(spec, limits.trials, ledger.ends(spec.max_epochs, limits.max_epochs))


def of_spec(spec: Spec, trials: int | None = None, ends: Sequence[int] = ()) -> Plan:
    """The plan of a search file.

    Args:
        spec: the search file.
        trials: of the whole run, instead of the file's own number.
        ends: lengths of a full training in the launches so far and in this one, ascending; the file's
            own when empty.
    """
    *former, max_epochs = ends or [spec.max_epochs]
    wanted = spec.trials if trials is None else trials
    return Plan(
        objectives=spec.objectives,
        max_epochs=max_epochs,
        trials=wanted if spec.ranges else min(wanted, len(spec.points)),
        ranges=spec.ranges,
        is_active=spec.is_active,
        sampler=spec.search.sampler,
        sampler_settings=spec.search.settings("sampler"),
        seed=spec.search.seed,
        early_stopping=spec.search.early_stopping,
        former_ends=tuple(former),
        points=spec.points,
    )
