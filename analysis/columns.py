"""A run's log as columns: what tables and reports of millions of epochs are made of.

A resumed search reads the log record by record (`rtune.run.log`) and folds it (`rtune.run.ledger`). Here the
records of epochs, which are nearly all of it, are parsed by pyarrow and checked as whole columns, block by
block. Only the other records become Python objects; they go through the same check and the same fold. A block
with any unusual line is read record by record, so that one place decides which records are left out.
"""

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from rtune import metrics
from rtune.run import schema
from rtune.run.folder import RunFolder, storage_errors
from rtune.run.formats import Converter
from rtune.run.ledger import Ledger
from rtune.storage.places import Place

from .blocks import FIELDS, Block, Parsed, Piece, blocks, fits, read_lines

Record = dict[str, Any]


# What is kept of an epoch; its number follows from its place among those of its trial.
def _kept() -> tuple[str, ...]:
    return (*schema.epoch(), "rung", "rung_position", "rung_size")


# Placeholder for an epoch, where only the number of epochs is used.
_COUNTED: Record = {}


@dataclass
class Columns:
    """What a log says, n epochs in the order they were written.

    Attributes:
        ledger: as `rtune.run.ledger.fold` makes it, but for the records of epochs, which are empty.
        trial: (n,) each epoch's trial, as its place in the ledger.
        epochs: metrics, `rung`, `rung_position`, `rung_size` and `time` (milliseconds), by name, in parts.
        notes: a line for each record that was left out.
    """

    ledger: Ledger
    trial: np.ndarray
    epochs: dict[str, list[pa.Array]]
    notes: list[str]

    def take(self, name: str) -> pa.Array:
        """Returns a column (n,) of `epochs` and removes it here, so that it is not in memory twice."""
        type_ = pa.int64() if name == "time" else _type(name)
        return pa.concat_arrays([pa.array([], type_), *self.epochs.pop(name)])


def read(folder: RunFolder) -> Columns:
    """The results log of a run; records are left out, and notes made, as by `RunFolder.read`.

    Raises:
        RunError: it cannot be read.
    """
    with storage_errors():
        place = folder.place / "results"
        reader = _Reader(place, folder.converter())
        for block, parsed in blocks(place):
            reader.take(block, parsed)
    return reader.columns()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Context without Python's garbage collection.

    All objects of a large run stay in use, and checking them again and again takes a quarter of the time.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@dataclass
class _Checked:
    """Records of a block: m epochs, and the others, each with the number of epochs before it."""

    trial: np.ndarray  # (m,) places in the ledger
    epochs: pa.Table  # (m,) `FIELDS` at least
    milliseconds: np.ndarray  # (m,)
    decided: list[tuple[int, Record]]  # of the epochs those that ended their trial, with their rows
    others: list[tuple[int, Record]]
    notes: list[str]


class _Reader:
    """Reads blocks in the order of the log."""

    def __init__(self, place: Place, converter: Converter) -> None:
        self._place = place
        self._converter = converter
        self._ledger = Ledger()
        self._names: list[str] = []  # of all trials
        self._codes: dict[str, int] = {}  # trial -> its place among them
        self._known: dict[str, int] = {}  # its keys are all trials
        self._counts = np.zeros(0, np.int64)  # epochs of each trial
        self._trial: list[np.ndarray] = [np.zeros(0, np.int32)]
        self._epochs: dict[str, list[pa.Array]] = {name: [] for name in (*_kept(), "time")}
        self._notes: list[str] = []

    def columns(self) -> Columns:
        self._tell(self._counts)
        return Columns(self._ledger, np.concatenate(self._trial), self._epochs, self._notes)

    def take(self, block: Block, parsed: Parsed | None) -> None:
        """Adds a block, given with its parsed lines if pyarrow could parse them."""
        found = None if parsed is None else self._check(parsed)
        if found is None:
            found = self._read(block)
        self._apply(found)
        self._trial.append(found.trial)
        for name in _kept():
            self._epochs[name] += _chunks(found.epochs, name)
        self._epochs["time"].append(pa.array(found.milliseconds))
        self._notes += found.notes

    def _check(self, parsed: Parsed) -> _Checked | None:
        """The records of a parsed block; None if one is not valid or does not follow from those before it."""
        lines = [(before, line) for before, line in parsed.others if line]
        piece = Piece("0001.jsonl", 1, b"\n".join(line for _, line in lines))
        found = read_lines(self._place, [piece], self._known, self._converter)
        kinds = {record["kind"] for record in found.records}
        if found.notes or "epoch" in kinds or not fits(parsed.epochs):
            return None
        others = [(before, record) for (before, _), record in zip(lines, found.records, strict=True)]
        new = [(before, record["trial"]) for before, record in others if record["kind"] == "trial"]
        trial = self._places(parsed.epochs["trial"], [name for _, name in new])
        begun = np.array([before for before, _ in new], np.int64)
        if trial is None or not _is_whole(trial, parsed.epochs["epoch"].to_numpy(), self._counts, begun):
            return None
        milliseconds = np.rint(parsed.epochs["time"].to_numpy() * 1000).astype(np.int64)
        return _Checked(trial, parsed.epochs, milliseconds, _decided(parsed.epochs), others, [])

    def _places(self, trial: pa.ChunkedArray, new: list[str]) -> np.ndarray | None:
        """Trials (m,) as their places in the ledger, the new ones last; None if one is unknown."""
        codes = {name: code for code, name in enumerate(new, len(self._names))}
        names = trial.combine_chunks().dictionary_encode()
        places = [self._codes.get(name, codes.get(name, -1)) for name in names.dictionary.to_pylist()]
        return None if -1 in places else np.array(places, np.int32)[names.indices.to_numpy()]

    def _read(self, block: Block) -> _Checked:
        """The block's records, read one by one."""
        self._known = dict(zip(self._names, self._counts.tolist(), strict=True))
        found = read_lines(self._place, block, self._known, self._converter)
        epochs: list[Record] = []
        others = []
        for record in found.records:
            if record["kind"] == "epoch":
                epochs.append(record)
            else:
                others.append((len(epochs), record))
        codes = {name: code for code, name in enumerate(self._known)}
        trial = np.array([codes[record["trial"]] for record in epochs], np.int32)
        milliseconds = np.array([round(record["time"] * 1000) for record in epochs], np.int64)
        decided = [(row, record) for row, record in enumerate(epochs) if record["decision"] != "continue"]
        table = pa.Table.from_pylist(epochs, pa.schema([*FIELDS, *_added()]))
        return _Checked(trial, table, milliseconds, decided, others, found.notes)

    def _apply(self, found: _Checked) -> None:
        """Applies the records to the ledger; epochs after which a trial continues are only counted."""
        new = [record["trial"] for _, record in found.others if record["kind"] == "trial"]
        self._codes.update((name, code) for code, name in enumerate(new, len(self._names)))
        self._names += new
        before = np.concatenate([self._counts, np.zeros(len(new), np.int64)])
        self._counts = before + np.bincount(found.trial, minlength=len(before))
        # Sorting is stable, so records that stand before an epoch in the log are applied before it.
        for row, record in sorted([*found.others, *found.decided], key=itemgetter(0)):
            if record["kind"] == "launch":
                self._tell(before + np.bincount(found.trial[:row], minlength=len(before)))
            self._ledger.apply(record)
            if record["kind"] == "epoch":
                self._ledger.trials[record["trial"]].epochs[-1] = _COUNTED

    def _tell(self, counts: np.ndarray) -> None:
        """Sets the number of epochs of each trial of the ledger, which was given only the last ones."""
        for trial, count in zip(self._ledger.trials.values(), counts.tolist(), strict=False):
            trial.epochs.extend([_COUNTED] * (count - len(trial.epochs)))


def _added() -> list[pa.Field]:
    """Columns of metrics that older logs lack."""
    return [pa.field(name, pa.float64()) for name in metrics.added()]


def _type(name: str) -> pa.DataType:
    return FIELDS.field(name).type if name in FIELDS.names else pa.float64()


def _chunks(epochs: pa.Table, name: str) -> list[pa.Array]:
    """A column's parts; empty where the log has no such figure."""
    if name not in epochs.column_names:
        return [pa.nulls(len(epochs), _type(name))]
    chunks: list[pa.Array] = epochs[name].cast(_type(name)).chunks
    return chunks


def _decided(epochs: pa.Table) -> list[tuple[int, Record]]:
    """`_Checked.decided`; the records have the fields that the ledger uses."""
    rows = np.flatnonzero(pa.compute.not_equal(epochs["decision"], "continue").to_numpy())
    records = epochs.select(["kind", "trial", "epoch", "decision", "time"]).take(rows).to_pylist()
    return list(zip(rows.tolist(), records, strict=True))


def _is_whole(trial: np.ndarray, epoch: np.ndarray, counts: np.ndarray, begun: np.ndarray) -> bool:
    """Whether each trial's epochs count on from those before, none before its trial's own record.

    Args:
        trial: (m,) places of epochs' trials.
        epoch: (m,) their numbers.
        counts: (k,) number of epochs of each trial so far.
        begun: (l,) rows at which the trials k, k + 1, ... of this block begin.
    """
    first = np.concatenate([np.zeros(len(counts), np.int64), begun])
    so_far = np.concatenate([counts, np.zeros(len(begun), np.int64)])
    sizes = np.bincount(trial, minlength=len(so_far))
    passed = np.cumsum(sizes) - sizes
    order = np.argsort(trial, kind="stable")
    expected = np.arange(1, len(trial) + 1) + (so_far - passed)[trial[order]]
    return bool((np.arange(len(trial)) >= first[trial]).all() and (epoch[order] == expected).all())
