"""Runs as tables."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from rtune.run import schema
from rtune.run.folder import RunFolder, find_run
from rtune.run.ledger import Launch, Trial
from rtune.run.log import Log

from . import columns
from .columns import Columns, uncollected

# How Arrow's types become pandas' ones: whole numbers stay whole where some are missing.
_WHOLE = {pa.int64(): pd.Int64Dtype()}.get


class _Absent:
    """Kind of `_ABSENT`, which stands for a searched value that does not apply."""


_ABSENT = _Absent()


@dataclass(frozen=True, eq=False)
class Run:
    """All that a run's log says, from reading it once.

    Attributes:
        folder: where it is.
        rows: one row a trial and epoch, as `load`.
        launches: in order.
        trials: one row a trial in the order of suggestion, also of those that have no epoch yet: `trial`,
            `status` (as of now, as in `rows`), `seed`, `sampler`, `epochs` (how many are recorded), `error`
            and `ended_epoch` (of one that diverged or failed), `promotions` and `retries` (how many).
        notes: a line for each record of the log that had to be left out.
    """

    folder: RunFolder
    rows: pd.DataFrame
    launches: list[Launch]
    trials: pd.DataFrame
    notes: list[str]

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def evaluated(self) -> Log:
        """The records of `rtune evaluate`. Raises RunError."""
        return self.folder.read_evaluations(self.trials["trial"])

    @property
    def wanted(self) -> int:
        """Trials of the whole run, as the newest launch has it."""
        return self.launches[-1].trials if self.launches else self.folder.spec.trials


@uncollected()
def read(run: str | Path | RunFolder) -> Run:
    """A run's tables and facts; two million epochs take seconds.

    Raises:
        RunError: `run` is no run folder, or cannot be read.
    """
    folder = run if isinstance(run, RunFolder) else find_run(str(run))
    found = columns.read(folder)
    waiting = _waiting(folder)
    trials = list(found.ledger.trials.values())
    facts = _trials(trials, waiting)
    rows = _frame(_columns(found, trials, folder.spec.searched(), waiting))
    return Run(folder, rows, found.ledger.launches, facts, found.notes)


def load(run: str | Path | RunFolder) -> pd.DataFrame:
    """All rows of a run, one a trial and epoch, in the columns of `rtune.run.schema`.

    `status` is the trial's as of now, on each of its rows. A trial that diverged or failed has
    a last row for the epoch it broke in, with `error` and without metrics. The searched values
    stand under their dotted paths, empty where they do not apply.

    Raises:
        RunError: `run` is no run folder.
    """
    return read(run).rows


@uncollected()
def table(run: str | Path | RunFolder) -> pa.Table:
    """`load` as a pyarrow table with its full schema."""
    folder = run if isinstance(run, RunFolder) else find_run(str(run))
    found = columns.read(folder)
    trials = list(found.ledger.trials.values())
    fields, made = zip(*_columns(found, trials, folder.spec.searched(), _waiting(folder)), strict=True)
    return pa.table(list(made), schema=pa.schema(fields))


def networks(rows: pd.DataFrame) -> pd.DataFrame:
    """The network each trial ended with, or has so far: its last row with metrics; in the order of names."""
    trained = rows["robust_accuracy"].notna() & ~rows["status"].isin(["diverged", "failed"])
    # Only rows with a network are sorted: there may be millions of others.
    places = np.flatnonzero(trained)
    trial = pd.factorize(rows["trial"])[0][places]
    order = np.lexsort((rows["epoch"].iloc[places].to_numpy(float, na_value=np.nan), trial))
    last = order[np.flatnonzero(np.diff(trial[order], append=-1))]
    return rows.iloc[places[last]].sort_values("trial").reset_index(drop=True)


def _waiting(folder: RunFolder) -> str:
    """The status of a trial that has not ended."""
    return "running" if folder.is_live() else "interrupted"


def _frame(made: Iterable[tuple[pa.Field, pa.Array]]) -> pd.DataFrame:
    """Columns as a DataFrame, each converted when it is made, so that not all are in memory twice."""
    found = {}
    for field, column in made:
        found[field.name] = pa.table({"": column}).to_pandas(types_mapper=_WHOLE)[""]
        pa.default_memory_pool().release_unused()
    return pd.DataFrame(found, copy=False)


def _trials(trials: list[Trial], waiting: str) -> pd.DataFrame:
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        "trial": (pa.string(), [t.id for t in trials]),
        "status": (pa.string(), [_status(t, waiting) for t in trials]),
        "seed": (pa.int64(), [t.seed for t in trials]),
        "sampler": (pa.string(), [t.sampler for t in trials]),
        "epochs": (pa.int64(), [t.epoch for t in trials]),
        "error": (pa.string(), [t.error for t in trials]),
        "ended_epoch": (pa.int64(), [t.ended_epoch for t in trials]),
        "promotions": (pa.int64(), [len(t.promotions) for t in trials]),
        "retries": (pa.int64(), [len(t.retries) for t in trials]),
    }
    return _frame((pa.field(name, type_), pa.array(of, type_)) for name, (type_, of) in columns.items())


def _columns(
    found: Columns, trials: list[Trial], searched: list[str], waiting: str
) -> Iterator[tuple[pa.Field, pa.Array]]:
    """The columns of `load`: trial by trial, its epochs, then the one it broke in. Uses up `found.epochs`."""
    rows = _Rows(found.trial, trials)
    facts: dict[str, list[Any]] = {
        "trial": [t.id for t in trials],
        "status": [_status(t, waiting) for t in trials],
        "seed": [t.seed for t in trials],
        "sampler": [t.sampler for t in trials],
    }
    for field in schema.HEAD:
        is_number = field.name == "epoch"
        yield field, rows.numbers() if is_number else rows.of_trial(facts[field.name], field.type)
    # The type of a column is that of the values of trials with a row.
    settings = [t.values if size else {} for t, size in zip(trials, rows.sizes.tolist(), strict=True)]
    table = [[values.get(path, _ABSENT) for path in searched] for values in settings]
    for path, column in zip(
        searched, zip(*table, strict=True) if table else [()] * len(searched), strict=True
    ):
        type_ = _arrow_type(set(map(type, column)) - {_Absent, type(None)})
        values = [None if v is _ABSENT else v for v in column]
        if type_ == pa.string():  # a damaged log may have numbers among the texts
            values = [v if v is None else str(v) for v in values]
        yield pa.field(path, type_), rows.of_trial(values, type_)
    for field in schema.tail():
        if field.name == "error":
            yield field, rows.of_end([t.error for t in trials])
        elif field.name == "time":
            yield (
                field,
                rows.times(found.take("time"), [_milliseconds(t.ended_time) for t in trials], field.type),
            )
        else:
            yield field, rows.of_epoch(found.take(field.name), field.type)


class _Rows:
    """Where the rows of the table come from: r rows of k trials, from a log of n epochs.

    `sizes` (k,) is how many rows each trial has.
    """

    def __init__(self, trial: np.ndarray, trials: list[Trial]) -> None:
        """`trial` (n,) is that of each epoch, as its place in `trials`."""
        self._ends = [t.ended_epoch for t in trials]
        broke = np.array([end is not None for end in self._ends], bool)
        self.sizes = np.bincount(trial, minlength=len(trials)) + broke
        # For each of the r rows: its trial; whether it is the row of an end; and the index of its epoch in
        # the log, or n + the index of its trial for the row of an end.
        self._owner = np.repeat(np.arange(len(trials), dtype=np.int32), self.sizes)
        self._is_end = np.zeros(len(self._owner), bool)
        self._is_end[(np.cumsum(self.sizes) - 1)[broke]] = True
        self._source = len(trial) + self._owner
        self._source[~self._is_end] = np.argsort(trial, kind="stable")

    def of_trial(self, values: list[Any], type_: pa.DataType) -> pa.Array:
        """A value of each trial (k,), repeated on its rows."""
        return pa.array(values, type_).take(pa.array(self._owner))

    def of_epoch(self, column: pa.Array, type_: pa.DataType) -> pa.Array:
        """A column of the log (n,), in the order of the rows; null in rows of ends."""
        whole = column.cast(type_, safe=False)  # not an error if a whole-number metric has a fraction
        return whole.take(pa.array(self._source, mask=self._is_end))

    def of_end(self, values: list[str | None]) -> pa.Array:
        """A value of each trial (k,), in the row of its end; null in others."""
        return pa.array(values, pa.string()).take(pa.array(self._owner, mask=~self._is_end))

    def times(self, epochs: pa.Array, ends: list[int | None], type_: pa.DataType) -> pa.Array:
        """Milliseconds of the log's epochs (n,) and of trials' ends."""
        both = pa.concat_arrays([epochs, pa.array(ends, pa.int64())])
        return both.take(pa.array(self._source)).cast(type_)

    def numbers(self) -> pa.Array:
        """Epochs from 1."""
        first = np.cumsum(self.sizes) - self.sizes
        found = np.arange(1, len(self._owner) + 1) - first[self._owner]
        found[self._is_end] = [end for end in self._ends if end is not None]
        return pa.array(found, pa.int64())


def _status(trial: Trial, waiting: str) -> str:
    return waiting if trial.status == "running" else trial.status


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _arrow_type(kinds: set[type]) -> pa.DataType:
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds and kinds <= {int, float} else pa.string()
