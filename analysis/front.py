"""Fronts, hypervolume and knee, by any objectives."""

from collections.abc import Sequence

import moocore
import numpy as np
import pandas as pd

from rtune.pareto.hypervolume import hypervolume as volume
from rtune.pareto.objectives import references

from .objectives import ObjectiveLike, complete, parse_all, values


def front(networks: pd.DataFrame, objectives: Sequence[ObjectiveLike]) -> pd.DataFrame:
    """The rows that no other row dominates, best first in the first objective.

    Equal rows are all kept. Rows that lack an objective are left out.

    Args:
        networks: one row a network.
        objectives: names, with `:min` or `:max` where the default (`analysis.objectives`) is not meant.

    Raises:
        ObjectiveError: see `parse`.
        ValueError: an objective is infinite.
    """
    asked = parse_all(objectives)
    known = complete(networks, asked)
    if known.empty:
        return known
    points = values(known, asked)
    best = moocore.is_nondominated(points, maximise=True, keep_weakly=True)
    members: pd.DataFrame = known[best]
    return members.sort_values(
        [o.name for o in asked], ascending=[not o.maximise for o in asked], kind="stable"
    )


def reference(networks: pd.DataFrame, objectives: Sequence[ObjectiveLike]) -> dict[str, float]:
    """Reference point of the hypervolume (`rtune.pareto.objectives.references`), unsigned."""
    asked = parse_all(objectives)
    worst = references(values(complete(networks, asked), asked), asked)
    return {o.name: float(o.sign * w) for o, w in zip(asked, worst, strict=True)}


def hypervolume(
    points: np.ndarray | pd.DataFrame,
    objectives: Sequence[ObjectiveLike] | None = None,
    reference: dict[str, float] | None = None,
) -> float:
    """Volume that points dominate, above the reference; 0 without points.

    Args:
        points: an array (n, objectives), all maximised against the reference 0; or networks.
        objectives: of networks.
        reference: of networks, objective -> value; 0 for each when None, which only suits what is maximised.

    Raises:
        ValueError: a value of an array is nan or infinite, or one of a network is infinite.
    """
    if isinstance(points, pd.DataFrame):
        asked = parse_all(objectives or ())
        found = values(complete(points, asked), asked)
        zero = reference or {o.name: 0.0 for o in asked}
        points = found - np.array([zero[o.name] * (1.0 if o.maximise else -1.0) for o in asked])
    return volume(np.asarray(points, float))


def knee(networks: pd.DataFrame, objectives: Sequence[ObjectiveLike]) -> pd.Series | None:
    """The front member that gives up least of everything; None without a front.

    Objectives are scaled to [0, 1] over the front; the knee is the member farthest above the plane through
    the objectives' best members (Das 1999, for many objectives: farthest from the worst in the sum of the
    scaled objectives, where those planes are the same). Of equals the first in the front's order.
    """
    asked = parse_all(objectives)
    members = front(networks, asked)
    if members.empty:
        return None
    points = values(members, asked)
    span = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(span > 0, span, 1.0)
    return members.iloc[int(scaled.sum(axis=1).argmax())]
