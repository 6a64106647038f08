"""Objectives by name and direction: `robust_accuracy`, `macs:min`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rtune.errors import ObjectiveError
from rtune.run import schema

# The smaller the better, unless said otherwise; all others are fractions that one wants large.
MINIMISED = schema.COSTS
KNOWN = schema.METRICS


@dataclass(frozen=True)
class Objective:
    """A column of a run's results and whether it is to be large."""

    name: str
    maximise: bool

    @property
    def label(self) -> str:
        """`robust accuracy`, for readers."""
        return self.name.replace("_", " ").replace("macs", "MACs")

    @property
    def is_fraction(self) -> bool:
        return self.name not in schema.COSTS


Asked = str | Objective


def parse(asked: Asked) -> Objective:
    """An objective of its text: a name, or a name with `:min` or `:max`.

    Raises:
        ObjectiveError: no such metric, or no such direction.
    """
    if isinstance(asked, Objective):
        return asked
    name, colon, direction = asked.partition(":")
    if name not in KNOWN:
        raise ObjectiveError(f"objective {name!r} is none of {', '.join(KNOWN)}")
    if colon and direction not in ("min", "max"):
        raise ObjectiveError(f"objective {asked!r} has the direction {direction!r}; it must be min or max")
    return Objective(name, direction == "max" if colon else name not in MINIMISED)


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


def number(value: float) -> str:
    """Three digits of a figure: `0.913`, `1,204,530`."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def values(networks: pd.DataFrame, asked: Sequence[Asked]) -> np.ndarray:
    """Objectives (n, k) of all rows, all to be maximised: minimised ones are negated; nan where missing."""
    columns = [
        networks[o.name].to_numpy(float, na_value=np.nan) * (1.0 if o.maximise else -1.0)
        for o in parse_all(asked)
    ]
    return np.stack(columns, axis=1)
