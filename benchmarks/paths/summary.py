"""Hypervolumes of paths and of independent trainings, and paired intervals over seeds."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped]

from benchmarks.paths.setups import METHODS
from benchmarks.paths.training import INDEPENDENT

CELL = ["setup", "method", "network"]
SAME_COST = "independent, best of as many epochs"


@dataclass(frozen=True)
class Line:
    """An arm beside the path, on one data set with one method and network.

    Attributes:
        arm: the arm.
        epochs, seconds: of training, mean over seeds.
        hypervolume: from the nadir (0) to the ideal (1) of all networks of the cell, mean over seeds.
        difference: hypervolume of the path minus that of the arm, mean over seeds.
        low, high: 95 % confidence interval of `difference`, from paired differences (Student's t).
        robust: best robust accuracy at a sparsity of at least 0.5, 0.8 and 0.9, mean over seeds; 0 in a seed
            without such a network.
        seeds: number of seeds.
    """

    arm: str
    epochs: float
    seconds: float
    hypervolume: float
    difference: float
    low: float
    high: float
    robust: tuple[float, ...]
    seeds: int


def lines(table: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], list[Line]]]:
    """For each cell (data set, method, network), the arms.

    Args:
        table: rows of `benchmarks.paths.training.run`.
    """
    for cell, rows in table.groupby(CELL, sort=False):
        yield tuple(map(str, cell)), _cell(rows)


def _cell(rows: pd.DataFrame) -> list[Line]:
    sparsity = METHODS[str(rows["method"].iloc[0])].sparsity
    values = rows[["natural_accuracy", "robust_accuracy", sparsity]].to_numpy(float)
    low, high = values.min(axis=0), values.max(axis=0)
    scaled = pd.DataFrame((values - low) / np.where(high > low, high - low, 1), rows.index, list("xyz"))
    rows = rows.join(scaled).assign(sparsity=rows[sparsity])
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for seed in sorted(set(rows["seed"])):
        arms = dict(iter(rows[rows["seed"] == seed].groupby("arm", sort=False)))
        if INDEPENDENT in arms and "path" in arms:
            arms[SAME_COST] = _same_cost(arms[INDEPENDENT], arms["path"]["epochs"].max())
        for arm, networks in arms.items():
            found.setdefault(str(arm), {})[seed] = _outcome(networks)
    path = found.get("path", {})
    return [_line(arm, outcomes, path) for arm, outcomes in found.items()]


def _outcome(rows: pd.DataFrame) -> dict[str, Any]:
    # The rows of a path count all epochs until then.
    total = "sum" if rows["arm"].iloc[0] == INDEPENDENT else "max"
    return {
        "hypervolume": _hypervolume(rows),
        "epochs": float(rows["epochs"].agg(total)),
        "seconds": float(rows["seconds"].agg(total)),
        "robust": tuple(_best(rows, least) for least in (0.5, 0.8, 0.9)),
    }


def _best(rows: pd.DataFrame, sparsity: float) -> float:
    enough = rows.loc[rows["sparsity"] >= sparsity, "robust_accuracy"]
    return float(enough.max()) if len(enough) else 0.0


def _same_cost(rows: pd.DataFrame, epochs: float) -> pd.DataFrame:
    """The subset of the independent trainings with the largest hypervolume that `epochs` epochs allow.

    It is chosen after the fact, which favours the independent trainings.
    """
    size = max(1, int(epochs // rows["epochs"].iloc[0]))
    subsets = (
        rows.iloc[list(index)] for index in itertools.combinations(range(len(rows)), min(size, len(rows)))
    )
    return max(subsets, key=_hypervolume)


def _hypervolume(rows: pd.DataFrame) -> float:
    return float(moocore.hypervolume(rows[["x", "y", "z"]].to_numpy(), ref=0.0, maximise=True))


def _line(arm: str, outcomes: dict[int, dict[str, Any]], path: dict[int, dict[str, Any]]) -> Line:
    paired = sorted(outcomes.keys() & path.keys())
    differences = np.array([path[s]["hypervolume"] - outcomes[s]["hypervolume"] for s in paired])
    mean = float(differences.mean()) if len(paired) else float("nan")
    half = float("nan")
    if len(paired) > 1:
        half = float(stats.t.ppf(0.975, len(paired) - 1) * differences.std(ddof=1) / len(paired) ** 0.5)
    values = list(outcomes.values())
    return Line(
        arm=arm,
        epochs=float(np.mean([v["epochs"] for v in values])),
        seconds=float(np.mean([v["seconds"] for v in values])),
        hypervolume=float(np.mean([v["hypervolume"] for v in values])),
        difference=mean,
        low=mean - half,
        high=mean + half,
        robust=tuple(np.mean([v["robust"] for v in values], axis=0).tolist()),
        seeds=len(values),
    )
