"""What a search needs to know, whether its trials run on Ray or are recorded in a table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtune import schema
from rtune.config import EarlyStopping
from rtune.ranges import Range
from rtune.spec import Spec

Values = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """A search's space, objectives and limits.

    Attributes:
        objectives: names of what is maximised.
        max_epochs: length of a full training.
        trials: how many trials in all.
        ranges: dotted path -> range, selectors before what they open.
        is_active: whether a path applies, given the values chosen so far.
        sampler: `random`, `tpe`, `nsga2`, `gp` or `auto`.
        seed: of all that is random in the search.
        early_stopping: rungs; None trains every trial to its end.
        points: settings that are tried first.
        metrics: what a record of an epoch holds.
        snap: the setting that is trained instead of a suggested one; None for the suggested one.
    """

    objectives: tuple[str, ...]
    max_epochs: int
    trials: int
    ranges: Mapping[str, Range]
    is_active: Callable[[str, Values], bool]
    sampler: str = "auto"
    seed: int = 0
    early_stopping: EarlyStopping | None = field(default_factory=EarlyStopping)
    points: list[Values] = field(default_factory=list)
    metrics: tuple[str, ...] = schema.METRICS
    snap: Callable[[Values], Values] | None = None

    def inside(self, values: Values) -> Values:
        """Those values that lie in their ranges; a point's may not."""
        return {p: v for p, v in values.items() if p in self.ranges and self.ranges[p].holds(v)}


def of_spec(spec: Spec, trials: int | None = None) -> Plan:
    """The plan of a search file, for `trials` trials instead of the file's own number."""
    wanted = spec.trials if trials is None else trials
    early = spec.search.early_stopping
    return Plan(
        objectives=tuple(spec.search.objectives),
        max_epochs=spec.max_epochs,
        trials=wanted if spec.ranges else min(wanted, len(spec.points)),
        ranges=spec.ranges,
        is_active=spec.is_active,
        sampler=spec.search.sampler,
        seed=spec.search.seed,
        early_stopping=early,
        points=spec.points,
    )
