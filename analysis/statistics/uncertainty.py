"""Confidence intervals of accuracies, and the probability of each network to be on the front."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from rtune import metrics

from ..front import front
from ..objectives import Objective, ObjectiveLike, parse_all, values
from ..seeds import replicates
from .dominance import REACH, Field, chances, could_matter

# Below this probability to be on the front a member is within noise; also the level of the intervals.
LEVEL = 0.95
# Worst and best case of a network: where those of two do not overlap, they are `REACH` apart.
_CORNER_Z = REACH / np.sqrt(2)
_CORNER = 2 * NormalDist().cdf(_CORNER_Z) - 1


def wilson(accuracy: Any, images: Any, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of accuracies, in [0, 1]; nan where the accuracy is.

    It keeps its coverage near 0 and 1 too (Wilson 1927; Brown, Cai and DasGupta 2001).

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


def membership(
    networks: pd.DataFrame,
    objectives: Sequence[ObjectiveLike],
    images: Any,
    searched: Sequence[str],
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Probability of each member of the front that its true accuracies are not dominated.

    `probability` is about the trained networks: only their accuracies are uncertain. Each image belongs to
    one of three classes (right under attack, right only without attack, wrong), and a network's shares of the
    three are drawn from their posterior with Jeffreys' prior (Dirichlet, 1/2 added to each count), so that
    neither 1.0 nor 0.0 is certain. Shares are drawn rather than counts because counts can be equal, and with
    equal accuracy a sparser network would dominate. Sparsities and costs are exact.

    `setting_probability` is about settings: that the mean over seeds of the member's setting is not dominated
    by the mean of another setting. Means have normal errors, with the covariance within the replicated
    settings of the front (which includes the noise of the images) divided by the number of replicates;
    settings without replicates get the same covariance. With few replicates it is a rough estimate.

    Networks are drawn independently although they were measured on the same images and tend to fail on the
    same ones: their differences are in truth more certain, so the probabilities are rather too low. Both
    kinds of probability are calibrated for simulated networks with independent errors. The standard error
    from 1000 draws is at most 0.016.

    Args:
        networks: one row a network; those that lack an objective are left out.
        objectives: names, see `analysis.objectives`.
        images: that the accuracies are fractions of, at least 1; a number, or one for each network.
        searched: dotted paths of the searched values.
        draws: of the true accuracies, at least 1.
        seed: of the draws; the rows' order does not matter.

    Returns:
        A row a member, in the order of `front`: `trial`, `probability`, `within_noise` (it is below `LEVEL`),
        `rival` (the trial that dominates it most often; None where none did) and `rival_probability`,
        `seeds` (networks of its setting), `setting_probability` (nan without replicates).

    Raises:
        ObjectiveError: see `parse`.
        ValueError: `images` is below 1.
    """
    asked = parse_all(objectives)
    known = complete(networks, asked, images)
    members = front(known, asked)
    rows = candidates(known, asked)
    found = chances(as_field(rows, asked), rows.index.get_indexer(members.index), draws, seed)
    names = np.array([*rows["trial"], None], object)  # place -1: no rival
    made = pd.DataFrame({"trial": members["trial"].to_numpy(object), "probability": found.undominated})
    made["within_noise"] = made["probability"] < LEVEL
    made["rival"] = pd.Series(names[found.rival], dtype=object)
    made["rival_probability"] = found.rival_share
    return made.join(_settings(known, members.index, asked, searched, draws, seed))


def complete(networks: pd.DataFrame, asked: Sequence[Objective], images: Any) -> pd.DataFrame:
    """The networks that have all objectives, with the column `images`."""
    counted = networks.assign(images=images)
    return counted.dropna(subset=[o.name for o in asked]).reset_index(drop=True)


def candidates(known: pd.DataFrame, asked: Sequence[Objective]) -> pd.DataFrame:
    """The rows that may truly be on the front, sorted by trial."""
    found: pd.DataFrame = known[could_matter(*_corners(known, asked))]
    return found.sort_values("trial", kind="stable")


def _corners(rows: pd.DataFrame, asked: Sequence[Objective]) -> tuple[np.ndarray, np.ndarray]:
    """Worst and best case (n, k) of each network, maximised."""
    low, high = values(rows, asked), values(rows, asked)
    for column, objective in enumerate(asked):
        if objective.name in metrics.of_images():
            ends = wilson(rows[objective.name].to_numpy(float), rows["images"].to_numpy(float), _CORNER)
            low[:, column], high[:, column] = ends if objective.maximise else (-ends[1], -ends[0])
    return low, high


def as_field(rows: pd.DataFrame, asked: Sequence[Objective]) -> Field:
    """The networks with uncertain accuracies: see `membership`."""
    low, high = _corners(rows, asked)
    images = rows[["images"]].to_numpy(float)
    noisy = [o for o in asked if o.name in metrics.of_images()]
    counts = images * rows[[o.name for o in noisy]].to_numpy(float).clip(0, 1)
    # The images of the lower of two accuracies are taken to be a subset of those of the higher.
    order = counts.argsort(axis=1, kind="stable")
    ascending = np.take_along_axis(counts, order, axis=1)
    shares = np.diff(ascending, axis=1, prepend=0.0, append=images) + 0.5
    back = order.argsort(axis=1).T[:, :, None]
    signs = np.array([1.0 if o.maximise else -1.0 for o in noisy], np.float32)[:, None, None]

    def redraw(rng: np.random.Generator, which: np.ndarray, size: int) -> np.ndarray:
        own = shares[which].T[:, :, None]
        parts = rng.standard_gamma(own, (*own.shape[:2], size), np.float32)
        np.cumsum(parts, axis=0, out=parts)
        drawn: np.ndarray = np.take_along_axis(parts[:-1] / parts[-1], back[:, which], axis=0) * signs
        return drawn

    return Field(values(rows, asked), (high - low) / (2 * _CORNER_Z), redraw)


def _settings(
    known: pd.DataFrame,
    members: pd.Index,
    asked: Sequence[Objective],
    searched: Sequence[str],
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """`seeds` and `setting_probability` of the members (rows of `known`): see `membership`."""
    codes, _ = pd.factorize(replicates(known, searched), sort=True)
    sizes = np.bincount(codes)
    found = pd.DataFrame({"seeds": sizes[codes[members]], "setting_probability": np.nan})
    mine, place = np.unique(codes[members], return_inverse=True)
    again = np.isin(codes, mine[sizes[mine] > 1])
    if not again.any():
        return found
    points = values(known, asked)
    sums = [np.bincount(codes, weights=column) for column in points.T]
    # Rounded: the mean of equal figures may differ from them in the last digit, which would break a tie.
    means = np.round(np.stack(sums, axis=1) / sizes[:, None], 12)
    spread, root = _seed_noise(points[again] - means[codes[again]], len(np.unique(codes[again])))
    least = [_binomial(known.loc[members, o.name], known.loc[members, "images"]) for o in asked]
    errors = np.maximum(spread, least) / np.sqrt(sizes)[:, None]
    reach = _CORNER_Z * errors
    kept = np.union1d(np.flatnonzero(could_matter(means - reach, means + reach)), mine)
    field = _normal_field(means[kept], errors[kept], root)
    chance = chances(field, np.searchsorted(kept, mine), draws, seed).undominated
    found["setting_probability"] = np.where(found["seeds"] > 1, chance[place], np.nan)
    return found


def _seed_noise(residuals: np.ndarray, settings: int) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations (k,) within settings, and a square root (k, k) of the correlations.

    Args:
        residuals: (n, k), of n replicates from the means of their settings.
        settings: how many these are.
    """
    freedom = len(residuals) - settings
    spread = np.sqrt((residuals**2).sum(axis=0) / freedom)
    scaled = residuals / np.where(spread > 0, spread, 1.0)
    correlation = scaled.T @ scaled / freedom
    np.fill_diagonal(correlation, 1.0)
    shares, axes = np.linalg.eigh(correlation)
    return spread, axes * np.sqrt(shares.clip(0))


def _binomial(column: "pd.Series[Any]", images: "pd.Series[Any]") -> float:
    """Lower bound of the standard deviation over seeds: the standard error of accuracies, 0 of the rest."""
    if column.name not in metrics.of_images():
        return 0.0
    n = images.to_numpy(float)
    p = (n * column.to_numpy(float) + 0.5) / (n + 1)
    return float(np.sqrt((p * (1 - p) / n).mean()))


def _normal_field(points: np.ndarray, errors: np.ndarray, root: np.ndarray) -> Field:
    """Points with normal errors, correlated between objectives by `root` (k, k)."""
    noisy = (errors > 0).any(axis=0)
    centre, scale, mixing = (a.astype(np.float32) for a in (points.T[noisy], errors.T[noisy], root[noisy]))

    def redraw(rng: np.random.Generator, which: np.ndarray, size: int) -> np.ndarray:
        noise = rng.standard_normal((len(root), len(which) * size), np.float32)
        mixed = (mixing @ noise).reshape(-1, len(which), size)
        drawn: np.ndarray = centre[:, which, None] + scale[:, which, None] * mixed
        return drawn

    return Field(points, errors, redraw)
