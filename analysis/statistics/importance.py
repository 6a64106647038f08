"""Importance of the searched settings: PED-ANOVA (Watanabe, Bansal and Hutter 2023, arXiv 2304.10255).

A setting is important if its distribution among the best networks differs from that among all. The measure
is the Pearson divergence of the two densities. The reference is the density of what the search tried, not
that of its ranges: if a sampler tries many values in one place, that alone makes no setting important.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
import pandas as pd

from rtune.config.ranges import Range, Uniform
from rtune.config.spec import Spec

from ..objectives import Objective, ObjectiveLike, parse_all, values
from ..settings import judged, setting, thinned

# The name of all objectives together.
ALL = "all"
# Fewer networks, or fewer among the best, give no estimate.
FEWEST, FEWEST_BEST = 15, 5
# Cells of a setting's range; number of consecutive networks among which values are shuffled.
_CELLS, _BLOCK = 50, 20
_COLUMNS = ["objective", "parameter", "networks", "best", "explained", "low", "high", "null", "share"]


def importance(
    networks: pd.DataFrame,
    spec: Spec,
    objectives: Sequence[ObjectiveLike],
    best: float = 0.1,
    draws: int = 200,
) -> pd.DataFrame:
    """How much of being among the best each searched setting explains on its own.

    For each objective the best share is taken by its value, for all together by Pareto rank. Networks that
    are equally good share the last places: each of m has the weight 1/m of what is left, so that neither the
    order of rows nor a crowding distance decides. A setting that does not always apply is judged among the
    networks where it does, by the best of those.

    With q for the best share and D for the Pearson divergence, q^2 D is the variance over the setting of
    the chance to be among the best, which is how the paper comes from an analysis of variance to D. Divided
    by the variance of being among the best it is the part that the setting explains on its own, which can be
    compared between settings that apply to more and to fewer networks. Unlike in Optuna's evaluator both
    densities have the same kernel (Scott's rule on the best, 50 cells of the range, logarithmic where the
    range is) and no prior, which makes it exactly that part of the value as blurred by the kernel.

    The result depends neither on the order of rows nor on a random state.

    Args:
        networks: one row a network. Those of `analysis.settings.judged` count; of more than 5,000 of these
            a subset (`thinned`).
        spec: the run's.
        objectives: names, with `:min` or `:max` where the default is not meant.
        best: the best share, in (0, 1); at least `FEWEST_BEST` networks.
        draws: number of bootstrap resamples and of shuffles.

    Returns:
        A row for each objective, then for all together (objective `all`, where there are several), and
        each searched setting, the most important first:

        - `networks`: how many have the setting and the objective.
        - `best`: how many of these are the best.
        - `explained`: the share of variance explained, in [0, 1]; nan for fewer than `FEWEST` networks, or
          where the setting has one value only, as in all columns that follow.
        - `low`, `high`: a 95 % confidence interval, from bootstrap resamples of the networks. Their spread
          is taken around their own mean, because resampling increases any divergence.
        - `null`: the noise level, the 95 % quantile for a setting without influence: values are shuffled
          among networks that were suggested at about the same time. Only an `explained` above it shows an
          effect.
        - `share`: `explained` as a share of its sum over the settings, in [0, 1]; 0 if the sum is.
    """
    asked = parse_all(objectives)
    known = thinned(judged(networks))
    columns = {path: setting(known, spec, path) for path in spec.searched()}
    goals = [(o.name, [o]) for o in asked] + ([(ALL, asked)] if len(asked) > 1 else [])
    tables = [_of_goal(name, goal, known, columns, spec, best, draws) for name, goal in goals]
    return pd.concat(tables, ignore_index=True)


def membership(points: np.ndarray, best: float) -> np.ndarray:
    """Weight (n,) in [0, 1] of each point in the best share; see `importance`.

    The sum is max(best * n, `FEWEST_BEST`), or n if that is less.

    Args:
        points: (n, k), all to be maximised, without nan.
        best: the share, in (0, 1).
    """
    if len(points) == 0:
        return np.zeros(0)
    if points.shape[1] == 1:
        rank = np.unique(-points[:, 0], return_inverse=True)[1]
    else:
        rank = moocore.pareto_rank(points, maximise=True)
    sizes = np.bincount(rank)
    places = min(max(best * len(points), FEWEST_BEST), len(points))
    left = (places - (np.cumsum(sizes) - sizes)).clip(0)
    of_rank: np.ndarray = np.minimum(left / np.maximum(sizes, 1), 1.0)
    return of_rank[rank]


def _of_goal(
    name: str,
    goal: list[Objective],
    networks: pd.DataFrame,
    columns: "dict[str, pd.Series[Any]]",
    spec: Spec,
    best: float,
    draws: int,
) -> pd.DataFrame:
    """The rows of one objective, or of all."""
    points = values(networks, goal)
    complete = np.isfinite(points).all(axis=1)
    # Settings that apply to the same networks share one ranking.
    found: dict[bytes, _Ranked] = {}
    rows = []
    for path, column in columns.items():
        counts = complete & column.notna().to_numpy()
        key = counts.tobytes()
        if key not in found:
            found[key] = _Ranked.of(points[counts], best, draws)
        ranked = found[key]
        row = {"objective": name, "parameter": path, "networks": len(ranked.member)}
        row["best"] = float(ranked.member.sum())
        grid = _grid(column.to_numpy()[counts], spec.ranges.get(path))
        if len(ranked.member) >= FEWEST and grid is not None:
            row |= _figures(grid, ranked)
        rows.append(row)
    table = pd.DataFrame(rows, columns=_COLUMNS).astype(dict.fromkeys(_COLUMNS[3:], float))
    total = table["explained"].sum()
    table["share"] = table["explained"] / total if total > 0 else table["explained"]
    return table.sort_values(["explained", "parameter"], ascending=[False, True], kind="stable")


@dataclass(frozen=True)
class _Ranked:
    """Weights of networks in the best share.

    Attributes:
        member: (n,).
        dealt: (draws, n), the same weights shuffled among networks that were suggested at about the same
            time. A sampler that improves moves all settings, also those without influence, so that early
            (worse) and late (better) networks differ in them; shuffling within blocks keeps that.
    """

    member: np.ndarray
    dealt: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, best: float, draws: int) -> "_Ranked":
        member = membership(points, best)
        block = np.arange(len(member)) // _BLOCK
        keys = np.random.default_rng(0).random((draws, len(member)))
        return cls(member, member[(block + keys).argsort(axis=1)])

    @property
    def scale(self) -> float:
        """Factor from divergence to explained share: q^2 over the variance of the weights."""
        variance = self.member.var()
        return float(self.member.mean() ** 2 / variance) if variance > 1e-12 else 0.0


@dataclass(frozen=True)
class _Grid:
    """A setting's values as cells: `cell` (n,) in 0 .. cells - 1; `ordered` if they are numbers."""

    cell: np.ndarray
    cells: int
    ordered: bool


def _grid(column: np.ndarray, domain: Range | None) -> _Grid | None:
    """None for a setting with one value only. Values outside the range (of points) go to its ends."""
    if not isinstance(domain, Uniform):
        # Numbered in the order of appearance: names must not influence what is drawn.
        code, found = pd.factorize(column)
        return _Grid(code, len(found), ordered=False) if len(found) > 1 else None
    number = column.astype(float)
    if len(number) == 0 or number.min() == number.max():
        return None
    low, high = float(domain.low), float(domain.high)
    cells = min(_CELLS, int(high - low) + 1) if domain.integer else _CELLS
    if domain.log:
        low, high, number = np.log(low), np.log(high), np.log(number.clip(low, high))
    cell = np.rint((number - low) / (high - low) * (cells - 1)).astype(int)
    return _Grid(cell.clip(0, cells - 1), cells, ordered=True)


def _figures(grid: _Grid, ranked: _Ranked) -> dict[str, float]:
    """`explained`, its confidence interval and its noise level."""
    everyone = np.bincount(grid.cell, minlength=grid.cells)[None]
    among_best = np.bincount(grid.cell, weights=ranked.member, minlength=grid.cells)[None]
    (explained,) = _divergence(among_best, everyone, grid.ordered) * ranked.scale
    again = _divergence(*_resampled(grid, ranked), grid.ordered) * ranked.scale
    low, high = (explained + np.quantile(again, [0.025, 0.975]) - again.mean()).clip(0, 1)
    noise = _divergence(ranked.dealt @ np.eye(grid.cells)[grid.cell], everyone, grid.ordered) * ranked.scale
    return {"explained": explained, "low": low, "high": high, "null": float(np.quantile(noise, 0.95))}


def _divergence(among_best: np.ndarray, everyone: np.ndarray, ordered: bool) -> np.ndarray:
    """Pearson divergences (b,) of the best from all, both as counts (b, cells)."""
    if ordered:
        kernel = _kernel(among_best)
        among_best = np.einsum("bc,bcd->bd", among_best, kernel)
        everyone = np.einsum("bc,bcd->bd", np.broadcast_to(everyone, among_best.shape), kernel)
    top = among_best / np.maximum(among_best.sum(axis=1, keepdims=True), 1e-12)
    base = everyone / everyone.sum(axis=1, keepdims=True)
    # A cell without networks has none of the best either.
    ratio = np.divide(top, base, out=np.zeros_like(top), where=base > 1e-15)
    found: np.ndarray = (top * ratio).sum(axis=1) - 1.0
    return found.clip(0.0)


def _kernel(counts: np.ndarray) -> np.ndarray:
    """Kernels (b, cells, cells) by Scott's rule on counts (b, cells): row c spreads the content of cell c."""
    cells = np.arange(counts.shape[1])
    total = counts.sum(axis=1).clip(1e-12)
    mean = counts @ cells / total
    spread = np.sqrt((counts * (cells - mean[:, None]) ** 2).sum(axis=1) / (total - 1).clip(1.0))
    width = 1.059 * spread * total**-0.2
    # At least 90 % of the kernel within its own cell: no narrower than the grid.
    width = np.maximum(width, 0.5 / 1.64)
    by_distance = np.exp(-0.5 * (cells / width[:, None]) ** 2)
    kernel = by_distance[:, np.abs(cells[:, None] - cells)]
    normed: np.ndarray = kernel / kernel.sum(axis=2, keepdims=True)
    return normed


def _resampled(grid: _Grid, ranked: _Ranked) -> tuple[np.ndarray, np.ndarray]:
    """Counts (draws, cells) of the best and of all, in bootstrap resamples of the networks.

    Networks of equal weight are resampled among themselves: the ranking is not repeated.
    """
    rng = np.random.default_rng(0)
    among_best = np.zeros((len(ranked.dealt), grid.cells))
    everyone = np.zeros_like(among_best)
    for weight in np.unique(ranked.member):
        counts = np.bincount(grid.cell[ranked.member == weight], minlength=grid.cells)
        drawn = rng.multinomial(counts.sum(), counts / counts.sum(), size=len(among_best))
        among_best += weight * drawn
        everyone += drawn
    return among_best, everyone
