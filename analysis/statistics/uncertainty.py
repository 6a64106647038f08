"""Confidence intervals of accuracies, and which members of a front are clearly on it."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import betaincinv  # type: ignore[import-untyped]

from rtune import metrics

from ..front import front
from ..objectives import Objective, ObjectiveLike, complete, parse_all, values

LEVEL = 0.95


def wilson(accuracy: Any, images: Any, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of accuracies, in [0, 1]; nan where the accuracy is.

    It keeps its coverage near 0 and 1 too (Wilson 1927; Brown, Cai and DasGupta 2001). The coverage is that
    of a network that was not chosen by this accuracy; for the best of many it is lower.

    Args:
        accuracy: fractions of `images`, a number or an array; not necessarily whole counts.
        images: how many, at least 1; a number or an array of the same shape.
        level: of confidence, in (0, 1).

    Raises:
        ValueError: `images` or `level` is out of its range.
    """
    p, n = np.asarray(accuracy, float), np.asarray(images, float)
    if not (n >= 1).all() or not 0 < level < 1:
        raise ValueError(f"wilson needs images from 1 and a level in (0, 1), not {images} and {level}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def certainty(
    networks: pd.DataFrame, objectives: Sequence[ObjectiveLike], images: Any, level: float = LEVEL
) -> pd.DataFrame:
    """Which members of the front are clearly on it, and which are within noise.

    A member is clearly on the front if each other network is worse in some objective: in an exact one by any
    amount, in an accuracy by a significant difference. A network that another truly dominates is called clear
    with a probability of at most 1 - `level`, whatever the number of networks: it would have to differ
    significantly from that one too. For members that are not clear there is no probability: it would depend
    on how often networks fail on the same images, which accuracies alone do not show.

    Each difference is tested, one-sided, at the level (1 - `level`) / accuracies. It is significant if it
    exceeds the root of the summed squares of the distances to the Clopper-Pearson limits of the two (MOVER,
    Zou and Donner 2008). For independent errors this has at most the nominal error; networks that tend to
    fail on the same images, as they do, differ with less error still.

    An objective that is neither exact nor of images, such as seconds, has an unknown error and is left out.
    That is cautious: what has no equal in the rest is on the front whatever that objective is.

    Args:
        networks: one row a network; those that lack an objective are left out.
        objectives: names, see `analysis.objectives`.
        images: that the accuracies are fractions of, at least 1; a number, or one for each network.
        level: 1 - `level` is the error of a network, in (0, 1).

    Returns:
        A row a member, in the order of `front`: `trial`, `within_noise` (it is not clearly on the front),
        `rivals` (how many networks may truly dominate it) and `rival` (the most likely of them, or None).

    Raises:
        ObjectiveError: see `parse`.
        ValueError: `images` or `level` is out of its range.
    """
    asked = parse_all(objectives)
    known = complete(networks.assign(images=images), asked).reset_index(drop=True)
    if not (known["images"] >= 1).all() or not 0 < level < 1:
        raise ValueError(f"certainty needs images from 1 and a level in (0, 1), not {images} and {level}")
    members = front(known, asked)
    noisy = [o for o in asked if o.name in metrics.of_images()]
    sure = np.array([o.name in metrics.exact() for o in asked])
    exact = values(known, asked)[:, sure]
    limits = [_limits(known, o, (1 - level) / len(noisy)) for o in noisy]
    trials = known["trial"].to_numpy(object)
    # Where all objectives are exact, so is the front.
    rivals = [np.zeros(0, int) if sure.all() else _rivals(exact, limits, int(i)) for i in members.index]
    return pd.DataFrame(
        {
            "trial": members["trial"].to_numpy(object),
            "within_noise": [len(found) > 0 for found in rivals],
            "rivals": [len(found) for found in rivals],
            "rival": pd.Series([trials[found[0]] if len(found) else None for found in rivals], dtype=object),
        }
    )


# Accuracies (n,), maximised, and their distances to the lower and to the upper limit.
_Limits = tuple[np.ndarray, np.ndarray, np.ndarray]


def _limits(known: pd.DataFrame, objective: Objective, alpha: float) -> _Limits:
    """One-sided limits of Clopper and Pearson (1934) of the level 1 - alpha."""
    share, images = known[objective.name].to_numpy(float).clip(0, 1), known["images"].to_numpy(float)
    right = share * images
    low = np.where(right > 0, betaincinv(np.maximum(right, 1e-9), images - right + 1, alpha), 0.0)
    wrong = images - right
    high = np.where(wrong > 0, betaincinv(right + 1, np.maximum(wrong, 1e-9), 1 - alpha), 1.0)
    if objective.maximise:
        return share, share - low, high - share
    return -share, high - share, share - low


def _rivals(exact: np.ndarray, limits: Sequence[_Limits], i: int) -> np.ndarray:
    """Indices of the networks that may truly dominate network i, the most likely first."""
    may = (exact >= exact[i]).all(axis=1)
    may[i] = False
    others = np.flatnonzero(may)
    ahead = np.full(len(others), np.inf)
    for share, below, above in limits:
        # In units of what is significant: a rival that is behind by less than 1 may be ahead in truth.
        ahead = np.minimum(ahead, (share[others] - share[i]) / np.hypot(below[i], above[others]).clip(1e-12))
    order = np.argsort(-ahead, kind="stable")
    return np.asarray(others[order][ahead[order] >= -1])
