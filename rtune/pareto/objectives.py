"""Objectives by name and direction: `robust_accuracy`, `macs:min`. Only this module applies signs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtune.errors import ObjectiveError
from rtune.metrics import METRICS
from rtune.pareto.hypervolume import finite, hypervolume


@dataclass(frozen=True)
class Objective:
    """A column of a run's results, and whether it is maximised or minimised."""

    name: str
    maximise: bool = True

    def __str__(self) -> str:
        """The text that `parse` reads; the direction is given only if it is not the metric's own."""
        own = self.name not in METRICS or METRICS[self.name].maximise == self.maximise
        return self.name if own else f"{self.name}:{'max' if self.maximise else 'min'}"

    @property
    def label(self) -> str:
        """The name in reports: `robust accuracy`."""
        return METRICS[self.name].label if self.name in METRICS else self.name.replace("_", " ")

    @property
    def is_fraction(self) -> bool:
        """Whether its values lie in [0, 1]."""
        return self.name not in METRICS or METRICS[self.name].is_fraction

    @property
    def sign(self) -> float:
        """1 if maximised, -1 if minimised."""
        return 1.0 if self.maximise else -1.0

    @property
    def reference(self) -> float | None:
        """Its coordinate of the reference point: the lower bound if it is maximised; None if there is none.

        A minimised objective has none: the worst of the networks takes its place (`references`).
        """
        if not self.maximise:
            return None
        return METRICS[self.name].low if self.name in METRICS else 0.0

    def format(self, value: float) -> str:
        """An unsigned value as text for reports."""
        return METRICS[self.name].format(value) if self.name in METRICS else f"{value:.3f}"


ObjectiveLike = str | Objective


def parse(asked: ObjectiveLike) -> Objective:
    """The objective that a text names: a metric, with `:min` or `:max` if need be.

    Raises:
        ObjectiveError: the metric or the direction is unknown.
    """
    if isinstance(asked, Objective):
        return asked
    name, colon, direction = asked.partition(":")
    if name not in METRICS:
        raise ObjectiveError(f"objective {name!r} is none of {', '.join(METRICS.names())}")
    if colon and direction not in ("min", "max"):
        raise ObjectiveError(f"objective {asked!r} has the direction {direction!r}; it must be min or max")
    return Objective(name, direction == "max" if colon else METRICS[name].maximise)


def parse_all(asked: ObjectiveLike | Iterable[ObjectiveLike]) -> list[Objective]:
    """One or several objectives, each named once; raises ObjectiveError otherwise."""
    found = [parse(one) for one in ([asked] if isinstance(asked, str | Objective) else asked)]
    names = [objective.name for objective in found]
    if not found:
        raise ObjectiveError("no objective is named; give at least one")
    for name in names:
        if names.count(name) > 1:
            raise ObjectiveError(f"objective {name!r} is named twice")
    return found


def signed(record: Mapping[str, Any], objectives: Iterable[Objective]) -> tuple[float, ...]:
    """A record's objectives (objectives,), signed so that larger is better: those to minimise are negated.

    Raises:
        ValueError: an objective is nan or infinite.
    """
    found = tuple(record[o.name] if o.maximise else -record[o.name] for o in objectives)
    if not all(map(math.isfinite, found)):
        names = [f"{o.name} is {record[o.name]}" for o in objectives if not math.isfinite(record[o.name])]
        raise ValueError(f"objectives must be finite: {', '.join(names)}")
    return found


def references(points: np.ndarray, objectives: Sequence[Objective]) -> np.ndarray:
    """The reference point of the hypervolume, signed: (objectives,).

    It has the lower bound of each maximised objective and, where there is none, the worst of the points.

    Args:
        points: (n, objectives), signed; at least one point if an objective is unbounded.
        objectives: the objectives of the columns.

    Raises:
        ValueError: a value is nan or infinite.
    """
    points = finite(points, "the points of a reference")
    bounds = [o.reference for o in objectives]
    worst = points.min(axis=0) if len(points) else np.zeros(len(objectives))
    return np.array(
        [w if b is None else o.sign * b for o, b, w in zip(objectives, bounds, worst, strict=True)]
    )


def front_hypervolume(points: np.ndarray, objectives: Sequence[Objective]) -> float:
    """Hypervolume of signed points (n, objectives) above `references`; 0 without points.

    Raises:
        ValueError: a value is nan or infinite.
    """
    return hypervolume(points - references(points, objectives)) if len(points) else 0.0
