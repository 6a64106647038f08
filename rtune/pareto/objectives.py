"""Objectives by name and direction: `robust_accuracy`, `macs:min`. Signs are applied here alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtune.errors import ObjectiveError
from rtune.metrics import METRICS
from rtune.pareto.hypervolume import hypervolume


@dataclass(frozen=True)
class Objective:
    """A column of a run's results, and whether it is to be large."""

    name: str
    maximise: bool = True

    def __str__(self) -> str:
        """As it is written: with its direction only where that is not the metric's own."""
        own = self.name not in METRICS or METRICS[self.name].maximise == self.maximise
        return self.name if own else f"{self.name}:{'max' if self.maximise else 'min'}"

    @property
    def label(self) -> str:
        """`robust accuracy`, for readers."""
        return METRICS[self.name].label if self.name in METRICS else self.name.replace("_", " ")

    @property
    def is_fraction(self) -> bool:
        """Whether it lies in [0, 1]."""
        return self.name not in METRICS or METRICS[self.name].is_fraction

    @property
    def sign(self) -> float:
        """1 where it is to be large, -1 where it is to be small."""
        return 1.0 if self.maximise else -1.0

    @property
    def reference(self) -> float | None:
        """Where hypervolume is measured from: the lower bound of what is maximised; None where there is none.

        A minimised objective has none: it is measured from the worst of the networks (`references`).
        """
        if not self.maximise:
            return None
        return METRICS[self.name].low if self.name in METRICS else 0.0

    def format(self, value: float) -> str:
        """A figure (not its signed form) for readers."""
        return METRICS[self.name].format(value) if self.name in METRICS else f"{value:.3f}"


Asked = str | Objective


def parse(asked: Asked) -> Objective:
    """An objective of its text: a name, or a name with `:min` or `:max`.

    Raises:
        ObjectiveError: no such metric, or no such direction.
    """
    if isinstance(asked, Objective):
        return asked
    name, colon, direction = asked.partition(":")
    if name not in METRICS:
        raise ObjectiveError(f"objective {name!r} is none of {', '.join(METRICS.names())}")
    if colon and direction not in ("min", "max"):
        raise ObjectiveError(f"objective {asked!r} has the direction {direction!r}; it must be min or max")
    return Objective(name, direction == "max" if colon else METRICS[name].maximise)


def parse_all(asked: Asked | Iterable[Asked]) -> list[Objective]:
    """One or several objectives, each named once. Raises ObjectiveError."""
    found = [parse(one) for one in ([asked] if isinstance(asked, str | Objective) else asked)]
    names = [objective.name for objective in found]
    if not found:
        raise ObjectiveError("no objective is named; give at least one")
    for name in names:
        if names.count(name) > 1:
            raise ObjectiveError(f"objective {name!r} is named twice")
    return found


def signed(record: Mapping[str, Any], objectives: Iterable[Objective]) -> tuple[float, ...]:
    """A record's objectives, each to be large: those to be small are negated."""
    return tuple(record[o.name] if o.maximise else -record[o.name] for o in objectives)


def references(points: np.ndarray, objectives: Sequence[Objective]) -> np.ndarray:
    """Where hypervolume is measured from, signed: (objectives,).

    The lower bound of what is maximised; where there is none, the worst of the points.

    Args:
        points: (n, objectives), signed; at least one where an objective has no bound.
        objectives: of the columns.
    """
    bounds = [o.reference for o in objectives]
    worst = points.min(axis=0) if len(points) else np.zeros(len(objectives))
    return np.array(
        [w if b is None else o.sign * b for o, b, w in zip(objectives, bounds, worst, strict=True)]
    )


def front_hypervolume(points: np.ndarray, objectives: Sequence[Objective]) -> float:
    """Hypervolume of signed points (n, objectives) above `references`; 0 without points."""
    return hypervolume(points - references(points, objectives)) if len(points) else 0.0
