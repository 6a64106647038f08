"""Recorded learning curves as a search space: tables in the format of `benchmarks.record`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.front import hypervolume
from rtune.config.ranges import Choice, Range, Uniform

FRACTIONS = ("natural_accuracy", "robust_accuracy", "channel_sparsity", "weight_sparsity")
METRICS = (*FRACTIONS, "train_seconds")
# A positive column has a logarithmic scale if largest / smallest value is at least this.
_LOG = 50.0


class TableError(Exception):
    """The table, or a request to it, is wrong; the message is for the user."""


@dataclass(frozen=True)
class Setting:
    """A setting and its recorded learning curve.

    Attributes:
        values: searched column -> value; columns that do not apply are missing.
        curve: (epochs, objectives), each maximised and at least 0; shorter than the table's epochs if
            the training diverged.
        seconds: (epochs,), time of each epoch, and of the epoch in which it diverged, if recorded.
    """

    values: dict[str, Any]
    curve: np.ndarray
    seconds: np.ndarray


@dataclass(frozen=True)
class Table:
    """Recorded settings, all trained for the same number of epochs.

    Attributes:
        objectives: names, in the order of the columns of the curves.
        max_epochs: epochs of a full training.
        settings: in the order of the file.
        ranges: searched column -> range, estimated from the file.
        openers: conditional column -> (the column that decides whether it applies, for which values).
    """

    objectives: tuple[str, ...]
    max_epochs: int
    settings: list[Setting]
    ranges: dict[str, Range]
    openers: dict[str, tuple[str, tuple[Any, ...]]]

    def is_active(self, path: str, values: dict[str, Any]) -> bool:
        """Whether a column applies, given the values chosen so far."""
        if path not in self.openers:
            return True
        selector, opening = self.openers[path]
        return values.get(selector) in opening

    @cached_property
    def full_hypervolume(self) -> float:
        """Hypervolume of all settings, fully trained."""
        ends = [s.curve[-1] for s in self.settings if len(s.curve) == self.max_epochs]
        return hypervolume(np.array(ends)) if ends else 0.0

    @cached_property
    def encoded(self) -> np.ndarray:
        """(settings, features) in [0, 1], NaN where a column does not apply."""
        return np.array([self.encode(setting.values) for setting in self.settings])

    def part(self, share: float, seed: int) -> "Table":
        """A table with a random fraction `share`, in (0, 1], of the settings; at least one setting."""
        count = max(1, round(share * len(self.settings)))
        kept = np.random.default_rng(seed).choice(len(self.settings), count, replace=False)
        return replace(self, settings=[self.settings[place] for place in sorted(kept)])

    def encode(self, values: dict[str, Any]) -> np.ndarray:
        """Features (features,) of values, as in `encoded`; a choice is encoded by its position."""
        return np.array([_feature(self.ranges[path], values.get(path)) for path in self.ranges])

    def nearest(self, values: dict[str, Any], unused: Sequence[int]) -> int:
        """Index of the unused setting nearest to the values.

        The distance is a sum over columns: the difference on the scale of the column, or 1 for different
        choices, or if the column applies to only one of the two.
        """
        wanted, rows = self.encode(values), self.encoded[list(unused)]
        apart = np.abs(rows - wanted)
        choices = np.array([isinstance(domain, Choice) for domain in self.ranges.values()])
        apart[:, choices] = apart[:, choices] > 0
        absent = np.isnan(rows), np.isnan(wanted)
        apart = np.where(absent[0] & absent[1], 0.0, np.where(absent[0] | absent[1], 1.0, apart))
        return int(unused[int(np.argmin(apart.sum(axis=1)))])


def load(path: Path, objectives: Sequence[str]) -> Table:
    """Reads a table.

    Args:
        path: CSV file with `config`, `epoch`, the metrics, and a column per searched value. An empty cell
            means that the value does not apply. The longest curves are full trainings; shorter ones
            diverged, and may end with a row without accuracies for the epoch in which they did.
        objectives: metrics, each a name or `name:min` or `name:max` (the default).

    Raises:
        TableError: a sentence on what is wrong with the file or the objectives.
    """
    names, signs = _directions(objectives)
    frame = _read(path)
    figures = frame[list(names)].to_numpy(float) * signs
    # Objectives are measured from 0, the reference point of the hypervolume: fractions are unchanged, others
    # are relative to the worst value of the table.
    worst = [
        0.0 if name in FRACTIONS and sign > 0 else np.nanmin(column)
        for name, sign, column in zip(names, signs, figures.T, strict=True)
    ]
    figures = figures - np.array(worst)
    searched = [c for c in frame.columns if c not in ("config", "epoch", *METRICS) and frame[c].notna().any()]
    if not searched:
        raise TableError(f"{path} has no column of a searched value; one at least is expected")
    ranges = {name: _range(frame[name]) for name in searched}
    configs = frame.groupby("config", sort=False)
    for name, counts in configs[searched].nunique(dropna=False).items():
        if (counts > 1).any():
            raise TableError(
                f"{path} has several values of {name} for config {counts.idxmax()}; one is expected"
            )
    settings = []
    for config, rows in configs:
        rows = rows.sort_values("epoch", kind="stable")
        epochs = [_plain(epoch) for epoch in rows["epoch"]]
        if epochs != list(range(1, len(rows) + 1)):
            raise TableError(f"{path} has the epochs {epochs} for config {config}; 1, 2, ... are expected")
        first = rows.iloc[0]
        values = {name: _plain(first[name]) for name in searched if pd.notna(first[name])}
        whole = rows.index[rows[FRACTIONS[0]].notna()]
        settings.append(Setting(values, figures[whole], rows["train_seconds"].to_numpy(float)))
    openers = _openers(settings, ranges)
    # A column comes after the column that decides whether it applies, so values can be chosen in order.
    order = [name for name in searched if name not in openers] + list(openers)
    ranges = {name: ranges[name] for name in order}
    table = Table(names, int(frame["epoch"].max()), settings, ranges, openers)
    if table.full_hypervolume <= 0:
        raise TableError(
            f"{path} has no network that is above the reference point in every one of {', '.join(names)}; "
            "their hypervolume is 0, so no share of it can be given"
        )
    return table


def _read(path: Path) -> pd.DataFrame:
    """The file, with columns and numbers checked."""
    try:
        # Only an empty cell is a missing value: "none" may be the name of a choice.
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""], low_memory=False)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).strip()
        raise TableError(f"{path} cannot be read as a table: {reason}") from None
    missing = [name for name in ("config", "epoch", *METRICS) if name not in frame]
    if missing:
        raise TableError(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
    if frame.empty:
        raise TableError(f"{path} has no rows; one for each epoch of each config is expected")
    if not isinstance(frame.index, pd.RangeIndex):
        raise TableError(f"{path} has rows with more cells than its header")
    if frame["config"].isna().any():
        raise TableError(f"{path} has an empty cell in its column config")
    epochs = pd.to_numeric(frame["epoch"], errors="coerce")
    last = epochs == epochs.groupby(frame["config"]).transform("max")
    broken = last & frame[list(FRACTIONS)].isna().all(axis=1)
    for name in ("epoch", *METRICS):
        # pandas treats booleans as numbers.
        column = frame[name].astype(str) if pd.api.types.is_bool_dtype(frame[name]) else frame[name]
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(float)
        wrong = column[~np.isfinite(numbers) & ~(broken & (name in FRACTIONS))]
        if len(wrong):
            raise TableError(f"{path} has {_shown(wrong.iloc[0])} in its column {name}; a number is expected")
        outside = (numbers < 0) | (numbers > 1) if name in FRACTIONS else numbers < 0
        if outside.any():
            rule = "a fraction from 0 to 1" if name in FRACTIONS else "a number of at least 0"
            raise TableError(f"{path} has {numbers[outside][0]:g} in its column {name}; {rule} is expected")
    for name in frame.columns:
        if pd.api.types.is_numeric_dtype(frame[name]) and np.isinf(frame[name].to_numpy(float)).any():
            raise TableError(f"{path} has inf in its column {name}; a number is expected")
    return frame


def _shown(value: Any) -> str:
    return "an empty cell" if pd.isna(value) else f"{_plain(value)!r}"


def _directions(objectives: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names, and 1 for each to be maximised, -1 for each to be minimised."""
    names, signs = [], []
    for text in objectives:
        name, _, direction = text.partition(":")
        if name not in METRICS:
            raise TableError(f"--objectives has {name!r}; known are {', '.join(METRICS)}")
        if direction not in ("", "max", "min"):
            raise TableError(f"--objectives has {text!r}; a direction is min or max")
        names.append(name)
        signs.append(-1.0 if direction == "min" else 1.0)
    if len(set(names)) < max(2, len(names)):
        raise TableError(f"--objectives is {','.join(objectives)}; two or more different ones are expected")
    return tuple(names), np.array(signs)


def _range(column: pd.Series) -> Range:
    known = column.dropna()
    if not pd.api.types.is_numeric_dtype(known) or pd.api.types.is_bool_dtype(known):
        return Choice(tuple(sorted(map(_plain, known.unique()), key=str)))
    low, high = float(known.min()), float(known.max())
    if low == high:
        return Choice((_plain(known.iloc[0]),))
    # With empty cells, pandas reads integers as floats.
    return Uniform(low, high, log=low > 0 and high / low >= _LOG)


def _openers(settings: Sequence[Setting], ranges: dict[str, Range]) -> dict[str, tuple[str, tuple[Any, ...]]]:
    """For each column with empty cells, the choice that decides whether it applies, if there is one.

    Such a choice may itself be conditional. Each is listed before the columns that depend on it.
    """
    found: dict[str, tuple[str, tuple[Any, ...]]] = {}
    known = [path for path in ranges if all(path in s.values for s in settings)]
    rest = [path for path in ranges if path not in known]
    progress = True
    while progress:
        progress = False
        for path in list(rest):
            filled = [s for s in settings if path in s.values]
            empty = [s for s in settings if path not in s.values]
            for selector in known:
                domain = ranges[selector]
                opening = {s.values.get(selector) for s in filled}
                if not isinstance(domain, Choice) or opening & {s.values.get(selector) for s in empty}:
                    continue
                found[path] = (selector, tuple(v for v in domain.values if v in opening))
                rest.remove(path)
                known.append(path)
                progress = True
                break
    return found


def _feature(domain: Range, value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(domain, Choice):
        return float(domain.values.index(value)) if value in domain.values else -1.0
    if domain.log:
        return math.log(value / domain.low) / math.log(domain.high / domain.low)
    return float((value - domain.low) / (domain.high - domain.low))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
