"""What a search needs to know, whether its trials run on Ray or are recorded in a table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtune import rungs, schema
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
        levels: rungs' epochs, ascending; none without early stopping.
        eta: of the trials at a rung, one in eta goes on.
        brackets: trials take turns to start at the first, second, ... rung.
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
    levels: tuple[int, ...] = ()
    eta: int = 3
    brackets: int = 1
    points: list[Values] = field(default_factory=list)
    metrics: tuple[str, ...] = schema.METRICS
    snap: Callable[[Values], Values] | None = None


def of_spec(spec: Spec, trials: int | None = None) -> Plan:
    """The plan of a search file, for `trials` trials instead of the file's own number."""
    wanted = spec.trials if trials is None else trials
    early = spec.search.early_stopping
    levels: list[int] = []
    if early is not None:
        levels = rungs.levels(early.first(spec.max_epochs), early.eta, spec.max_epochs)
    return Plan(
        objectives=tuple(spec.search.objectives),
        max_epochs=spec.max_epochs,
        trials=wanted if spec.ranges else min(wanted, len(spec.points)),
        ranges=spec.ranges,
        is_active=spec.is_active,
        sampler=spec.search.sampler,
        seed=spec.search.seed,
        levels=tuple(levels),
        eta=early.eta if early else 3,
        brackets=early.brackets if early else 1,
        points=spec.points,
    )
