"""Tiny tables of recorded curves, for the tests of benchmarks.search."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.tables import Setting, Table
from rtune.config.ranges import Uniform

HEADER = ["config", "epoch", "natural_accuracy", "robust_accuracy", "channel_sparsity", "weight_sparsity"]
OBJECTIVES = ["natural_accuracy", "robust_accuracy", "weight_sparsity"]


def write(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Writes rows; a metric that a row lacks is 0.5, a time 1 second, another column empty."""
    header = list(dict.fromkeys([*HEADER, "train_seconds", *(name for row in rows for name in row)]))
    usual = dict.fromkeys(HEADER[2:], 0.5) | {"train_seconds": 1.0}
    with open(file, "w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, header, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(usual | row for row in rows)
    return file


def generated(file: Path, settings: int = 24, epochs: int = 3) -> Path:
    """Random settings of a space with a choice that opens a column; every ninth diverges before its end."""
    rng = np.random.default_rng(0)
    rows = []
    for config in range(settings):
        method = ("rvsm", "rgsm")[config % 2]
        lr, penalty = float(rng.uniform(0.01, 0.5)), float(10 ** rng.uniform(-4, 0))
        values = {"method": method, "lr": lr, f"{method}.lambda": penalty}
        sparse = (4 + math.log10(penalty)) / 4
        for epoch in range(1, epochs + (config % 9 != 8)):
            accuracy = (1 - sparse**4) * (1 - abs(lr - 0.2)) * (0.7 + 0.3 * epoch / epochs)
            figures = dict(zip(OBJECTIVES, (accuracy, accuracy * 0.9, sparse), strict=True))
            rows.append({"config": config, "epoch": epoch, "train_seconds": 1 + lr, **values, **figures})
    return write(file, rows)


def made(
    curves: Sequence[Sequence[Sequence[float]]], seconds: Sequence[Sequence[float]] | None = None
) -> Table:
    """A table of two objectives from (settings, epochs, 2); the value `x` is the setting's place."""
    times = seconds or [[1.0] * max(1, len(curve)) for curve in curves]
    settings = [
        Setting({"x": float(i)}, np.array(curve, float).reshape(-1, 2), np.array(s, float))
        for i, (curve, s) in enumerate(zip(curves, times, strict=True))
    ]
    ranges = {"x": Uniform(0.0, float(max(1, len(curves) - 1)))}
    return Table(("a", "b"), max(map(len, curves)), settings, ranges, {})
