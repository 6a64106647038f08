"""Reads a log in blocks of lines, and parses the lines of epochs with pyarrow."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.json

from rtune.run import log, schema
from rtune.run.formats import Converter
from rtune.run.log import Log
from rtune.storage.paths import open_regular, path_errors
from rtune.storage.places import Place

T = TypeVar("T")

REQUIRED = schema.RECORDS["epoch"]
FIELDS = pa.schema([pa.field("kind", pa.string()), *REQUIRED, *schema.RUNG])
# Bytes of a block. One bad line makes a whole block be read line by line; a few blocks are in memory at once.
_BLOCK = 16 * 2**20
_AHEAD = 3
# Start of an epoch's line, as `rtune.run.log.Writer` writes it.
_EPOCH = b'{"kind":"epoch",'
# Seconds below which milliseconds are the same by floats and by Python's integers.
_EXACT_TIME = 2.0**43


@dataclass(frozen=True)
class Piece:
    """Whole lines of a segment. `line` is the number of the first, from 1."""

    segment: str
    line: int
    data: bytes


Block = list[Piece]


@dataclass(frozen=True)
class Parsed:
    """Parsed lines of a block. Whether they are valid records, in a valid order, has not been checked.

    Attributes:
        epochs: (m,) the columns of `FIELDS` and any others that the records have.
        others: all other lines, each with the number of epochs before it.
    """

    epochs: pa.Table
    others: list[tuple[int, bytes]]


def blocks(folder: Place) -> Iterator[tuple[Block, Parsed | None]]:
    """All blocks of a log in order, each with its parsed lines; None where pyarrow cannot parse a block.

    Raises:
        StorageError: a segment cannot be read. FileNotFoundError: it was deleted while the log was read.
    """
    waiting: deque[tuple[Block, Future[Parsed | None]]] = deque()
    with ThreadPoolExecutor(2) as pool:
        for block in _batches(_pieces(folder), lambda piece: len(piece.data)):
            waiting.append((block, pool.submit(_parse, block)))
            if len(waiting) == _AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


def read_lines(folder: Place, block: Block, known: dict[str, int], converter: Converter) -> Log:
    """Reads a block line by line; arguments and result as of `rtune.run.log.read`."""
    found = Log()
    for piece in block:
        part = log.read(_Lines(folder, piece), known, converter)
        found.records += part.records
        found.notes += part.notes
    return found


@dataclass(frozen=True)
class _Lines(Place):
    """A piece, as a log with one segment in which lines have their original numbers."""

    folder: Place
    piece: Piece
    name = "results"

    def __str__(self) -> str:
        return str(self.folder)

    def __truediv__(self, name: str) -> Place:
        return self.folder / name

    def files(self) -> dict[str, int]:
        return {self.piece.segment: len(self.piece.data)}

    def read_all(self, names: list[str]) -> list[bytes]:
        return [b"\n" * (self.piece.line - 1) + self.piece.data]


def _pieces(folder: Place) -> Iterator[Piece]:
    """The pieces of a log in order."""
    sizes = log.segments(folder)
    for name, parts in _local(folder, sizes) if folder.local else _remote(folder, sizes):
        line = 1
        for data in parts:
            yield Piece(name, line, data)
            line += int(np.count_nonzero(_places(data, b"\n")))


def _local(folder: Place, names: Iterable[str]) -> Iterator[tuple[str, Iterable[bytes]]]:
    return ((name, _parts(folder / name)) for name in names)


def _parts(file: Place) -> Iterator[bytes]:
    """A file in parts that fit in memory, each of whole lines."""
    with path_errors(str(file), "read"), open_regular(str(file)) as opened:
        while data := opened.read(_BLOCK):
            data += opened.readline()
            yield data
            if not data.endswith(b"\n"):
                return  # the end of the file: a process may be writing the rest of this line


def _remote(folder: Place, sizes: dict[str, int]) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Segments in a store are small, so those that fill a block are requested together."""
    for names in _batches(sizes, lambda name: sizes[name]):
        yield from zip(names, ([data] for data in folder.read_all(names)), strict=True)


def _batches(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Groups of items, each with the size of a block."""
    batch: list[T] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if total >= _BLOCK:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def _parse(block: Block) -> Parsed | None:
    """Parses a block; None if the lines of epochs are not plain JSON of the schema."""
    epochs, count, others = _split(block[0].data if len(block) == 1 else b"\n".join(p.data for p in block))
    if not count:
        return Parsed(FIELDS.empty_table(), others)
    # pyarrow and `json` agree on lines with one object each, without escapes and brackets.
    odd = b"\\" in epochs or b"[" in epochs or np.count_nonzero(_places(epochs, b"{")) != count
    if odd or not epochs.isascii():
        return None
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(epochs),
            pyarrow.json.ReadOptions(use_threads=False, block_size=len(epochs)),
            pyarrow.json.ParseOptions(explicit_schema=FIELDS, unexpected_field_behavior="infer"),
        )
    except (pa.ArrowException, OverflowError):
        return None
    return Parsed(table, others) if len(table) == count else None


def _split(data: bytes) -> tuple[bytes, int, list[tuple[int, bytes]]]:
    """The lines of epochs, their number, and `Parsed.others`."""
    starts = np.append(0, np.flatnonzero(_places(data, b"\n")) + 1)
    ends = np.append(starts[1:], len(data))
    if starts[-1] == len(data):
        starts, ends = starts[:-1], ends[:-1]
    is_epoch = np.zeros(len(starts), bool)
    long = ends - starts >= len(_EPOCH)
    windows = np.ndarray((max(0, len(data) - len(_EPOCH) + 1),), f"S{len(_EPOCH)}", data, strides=(1,))
    is_epoch[long] = windows[starts[long]] == _EPOCH
    parts, others, done = [], [], 0
    before = np.cumsum(is_epoch)
    for i in np.flatnonzero(~is_epoch).tolist():
        parts.append(data[done : starts[i]])
        done = int(ends[i])
        others.append((int(before[i]), data[starts[i] : done].removesuffix(b"\n")))
    parts.append(data[done:])
    return b"".join(parts), int(is_epoch.sum()), others


def _places(data: bytes, character: bytes) -> np.ndarray:
    """Whether each byte is the character, (len(data),) bool; runs without Python's lock."""
    found: np.ndarray = np.frombuffer(data, np.uint8) == ord(character)
    return found


def fits(epochs: pa.Table) -> bool:
    """Whether all epochs of a table pass the check of `rtune.run.log` for a record."""
    for field in epochs.schema:
        column = epochs[field.name]
        if field.name not in FIELDS.names:
            if not _is_plain(column):
                return False
        elif field.name in REQUIRED.names and column.null_count:
            return False
        elif pa.types.is_floating(field.type):
            values = column.to_numpy()
            # A negative zero may have been written as an integer, which has none.
            if not np.isfinite(values).all() or np.signbit(values).any():
                return False
    # Allowed ranges are intervals, so it is enough to check the smallest and the largest value.
    numbers = [field.name for field in FIELDS if not pa.types.is_string(field.type)]
    bounds = {name: pa.compute.min_max(epochs[name]).as_py() for name in numbers}
    least, greatest = ({name: bounds[name][which] for name in numbers} for which in ("min", "max"))
    words = [{"trial": "", "decision": word} for word in epochs["decision"].unique().to_pylist()]
    records = [word | extreme for word in words for extreme in (least, greatest)]
    return all(schema.fits(r, REQUIRED) and schema.fits(r, schema.RUNG) for r in records) and (
        not records or greatest["time"] < _EXACT_TIME
    )


def _is_plain(column: pa.ChunkedArray) -> bool:
    """Whether a column that is in no schema has only values that `rtune.run.log` accepts."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return True
    values = column.drop_null().to_numpy()
    return bool((np.abs(values.astype(float)) < 2.0**63).all())
