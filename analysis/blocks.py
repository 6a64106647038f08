"""A log in blocks of lines, and what pyarrow makes of the lines of epochs."""

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
# Bytes: so much is read line by line because of one bad line, and so much is in memory a few times over.
_BLOCK = 16 * 2**20
_AHEAD = 3
# As `rtune.run.log.Writer` begins the line of an epoch.
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
    """Lines of a block that may yet turn out not to be records, or not to follow from those before.

    Attributes:
        epochs: (m,) in `FIELDS` and whatever else they have.
        others: all other lines, each with the number of epochs before it.
    """

    epochs: pa.Table
    others: list[tuple[int, bytes]]


def blocks(folder: Place) -> Iterator[tuple[Block, Parsed | None]]:
    """All of a log in order, in blocks; with each what pyarrow makes of it, None if anything is odd.

    Raises:
        StorageError: a segment cannot be read. FileNotFoundError: it has gone meanwhile.
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
    """A block as `rtune.run.log.read` reads it, which see."""
    found = Log()
    for piece in block:
        part = log.read(_Lines(folder, piece), known, converter)
        found.records += part.records
        found.notes += part.notes
    return found


@dataclass(frozen=True)
class _Lines(Place):
    """A piece as a log of its own, in which lines keep their numbers."""

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
    """All of a log in order."""
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
                return  # the end; what is written from now on may be the rest of that line


def _remote(folder: Place, sizes: dict[str, int]) -> Iterator[tuple[str, Iterable[bytes]]]:
    """A store's segments are small; as many as make a block are asked for at once."""
    for names in _batches(sizes, lambda name: sizes[name]):
        yield from zip(names, ([data] for data in folder.read_all(names)), strict=True)


def _batches(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Items together that make up a block."""
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
    """Lines parsed; None if those of epochs are not plain JSON of the schema."""
    epochs, count, others = _split(block[0].data if len(block) == 1 else b"\n".join(p.data for p in block))
    if not count:
        return Parsed(FIELDS.empty_table(), others)
    # Of text without escapes and brackets, one object a line, pyarrow and `json` have the same notion.
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
    """Lines of epochs, their number, and `Parsed.others`."""
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
    """Where (len(data),) a character is, as bool; other threads go on meanwhile."""
    found: np.ndarray = np.frombuffer(data, np.uint8) == ord(character)
    return found


def fits(epochs: pa.Table) -> bool:
    """The check of `rtune.run.log` that a record is whole, for a table of epochs."""
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
    # Ranges are intervals: where the least and the greatest fit, all do.
    numbers = [field.name for field in FIELDS if not pa.types.is_string(field.type)]
    bounds = {name: pa.compute.min_max(epochs[name]).as_py() for name in numbers}
    least, greatest = ({name: bounds[name][which] for name in numbers} for which in ("min", "max"))
    words = [{"trial": "", "decision": word} for word in epochs["decision"].unique().to_pylist()]
    records = [word | extreme for word in words for extreme in (least, greatest)]
    return all(schema.fits(r, REQUIRED) and schema.fits(r, schema.RUNG) for r in records) and (
        not records or greatest["time"] < _EXACT_TIME
    )


def _is_plain(column: pa.ChunkedArray) -> bool:
    """Whether a column that no schema knows has but values that `rtune.run.log` lets pass."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return True
    values = column.drop_null().to_numpy()
    return bool((np.abs(values.astype(float)) < 2.0**63).all())
