"""Pruning methods: `pruning.method`."""

from typing import Literal

import numpy as np

from rtune.config.catalog.part import Pruner, Threshold
from rtune.config.section import Fraction, Penalty, Section, Strength
from rtune.registry import Registry


class RVSMConfig(Section):
    """RVSM (sparse weights); `lambda_1` is the paper's lambda."""

    beta: Strength = 1e-2
    lambda_1: Penalty = 1e-6
    penalty: Literal["l0", "l1", "transformed_l1"] = "l0"


class RGSMConfig(Section):
    """RGSM (sparse channels)."""

    beta: Strength = 1.0
    lambda_1: Penalty = 5e-2
    lambda_2: Penalty = 1e-5
    penalty: Literal["group_l0", "group_lasso"] = "group_l0"


class ADMMConfig(Section):
    """ADMM towards a fixed `sparsity` (the paper's p, as a fraction)."""

    rho: Strength = 1e-2
    sparsity: Fraction = 0.8
    granularity: Literal["weights", "channels"] = "weights"


def _hard(t: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.sqrt(2 * t)
    return found


def _soft(t: np.ndarray) -> np.ndarray:
    return t


def _transformed(t: np.ndarray) -> np.ndarray:
    """With the shape parameter a = 1, which rtune uses."""
    return np.where(t <= 0.25, 2 * t, 2 * np.sqrt(t) - 0.5)


_CONVOLUTIONS = frozenset({"convolutions"})
# arXiv 2003.00631, section 3; docs/method.md.
_HARD = Threshold(_hard, "sqrt(2 lambda_1 / beta)")
_SOFT = Threshold(_soft, "lambda_1 / beta")
_TRANSFORMED = Threshold(_transformed, "transformed l1 threshold of lambda_1 / beta")

PRUNERS = Registry(
    "pruner",
    "pruners",
    Pruner,
    [
        Pruner(name="none", label="unpruned", about="trains the dense network", build="rtune.robust:Pruner"),
        Pruner(
            name="rvsm",
            label="RVSM",
            about="relaxed variable splitting: sparse weights (arXiv 2003.00631, algorithm 1)",
            build="rtune.robust:RVSM",
            settings=RVSMConfig,
            needs=_CONVOLUTIONS,
            thresholds={"l0": _HARD, "l1": _SOFT, "transformed_l1": _TRANSFORMED},
        ),
        Pruner(
            name="rgsm",
            label="RGSM",
            about="relaxed group-wise splitting: sparse channels (arXiv 2003.00631, algorithm 2)",
            build="rtune.robust:RGSM",
            settings=RGSMConfig,
            needs=_CONVOLUTIONS,
            thresholds={"group_l0": _HARD, "group_lasso": _SOFT},
            sparsity="channel_sparsity",
        ),
        Pruner(
            name="admm",
            label="ADMM",
            about="alternating direction method of multipliers towards a fixed sparsity (baseline)",
            build="rtune.robust:ADMM",
            settings=ADMMConfig,
            needs=_CONVOLUTIONS,
        ),
    ],
)
