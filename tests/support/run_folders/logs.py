"""Logs of searches, drawn at random; what can happen to their bytes; what tables of them are."""

import json
import re
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from rtune.run import schema
from rtune.run.folder import RunFolder
from rtune.run.ledger import Trial, fold

Record = dict[str, Any]
Segments = list[list[Record]]


def written(records: list[Record]) -> bytes:
    """As `rtune.run.log.Writer` writes them."""
    return _lines(records, separators=(",", ":"))


def spaced(records: list[Record]) -> bytes:
    """The same records in another layout."""
    return _lines(records)


def _lines(records: list[Record], **layout: Any) -> bytes:
    return b"".join(json.dumps(record, **layout).encode() + b"\n" for record in records)


def launch(time: float = 1.0, **fields: Any) -> Record:
    sizes = {
        "trials": 4,
        "command": "search",
        "asked": "--trials 4 --max-epochs 3",
        "concurrency": 2,
        "max_epochs": 3,
        "rungs": [1, 2],
        "search": {"seed": 1},
    }
    data = {"data": "abc", "train_images": 1437, "validation_images": 360}
    return {"kind": "launch", "time": time} | sizes | data | fields


def trial(number: int, values: Record | None = None, **fields: Any) -> Record:
    fixed = {"seed": number, "values": values or {}, "sampler": "tpe", "facts": {}, "time": 1.0}
    return {"kind": "trial", "trial": f"t{number:04d}"} | fixed | fields


def epoch(number: int, epoch: int, decision: str = "continue", **fields: Any) -> Record:
    metrics = dict.fromkeys(schema.EPOCH, 0.5) | {"macs": 7, "parameters": 9, "images": 100}
    fixed = {"kind": "epoch", "trial": f"t{number:04d}", "epoch": epoch, "decision": decision, "time": 1.5}
    return fixed | metrics | fields


FRACTIONS = st.one_of(st.floats(0, 1), st.sampled_from([0, 1, 5e-324, 0.1, 1e-5, 0.30000000000000004]))
NUMBERS = st.one_of(FRACTIONS, st.integers(0, 2**53 - 1), st.floats(0, 2**53 - 1))
TIMES = st.one_of(st.floats(0, 2e9).map(lambda t: round(t, 3)), st.floats(0, 1e12), st.integers(0, 2**53 - 1))
TEXTS = st.text(max_size=5)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "model.depth": st.one_of(st.sampled_from([20, 32]), st.sampled_from([20, 32, 38.5])),
        "pruning.method": st.sampled_from(["rvsm", "rgsm"]),
        "pruning.rvsm.beta": st.one_of(FRACTIONS, FRACTIONS, st.booleans(), st.none()),
        "pruning.rgsm.lambda_1": FRACTIONS,
        "elsewhere": TEXTS,
    },
)
# Fields that no schema knows; some of these values do not fit a table.
_NEW = [3, None, 0.5, "\u00e9", True, ["a"], "2026-01-01", "{}", 1e300, {"a": 1}, 2**63, -(2**63)]
EPOCHS = st.tuples(
    st.just("epoch"),
    st.integers(0, 5),
    st.sampled_from(["continue", "continue", "stop", "finish"]),
    st.fixed_dictionaries(
        dict.fromkeys(schema.EPOCH[:5], FRACTIONS)
        | {"macs": st.integers(0, 2**53 - 1), "train_seconds": NUMBERS, "time": TIMES}
    ),
    st.fixed_dictionaries({}, optional=dict.fromkeys(schema.RUNG.names, st.none() | st.integers(0, 9))),
    st.one_of(st.just({}), st.just({}), st.sampled_from([{"new": value} for value in _NEW])),
)
ACTIONS = st.one_of(
    *[EPOCHS] * 4,
    st.tuples(st.just("trial"), VALUES, st.sampled_from(["tpe", "point"]), TIMES),
    st.tuples(st.just("launch"), st.integers(0, 3), TIMES),
    st.tuples(st.just("segment")),
    st.tuples(st.just("promote"), st.integers(0, 5)),
    st.tuples(st.just("retry"), st.integers(0, 5), TEXTS),
    st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from(["diverged", "failed"]), TEXTS, TIMES),
)


def _segments(actions: list[tuple[Any, ...]]) -> Segments:
    """The records of actions, whether or not a search would do so; a launch comes first."""
    found: Segments = [[launch()]]
    counts: list[int] = []
    longest = 3
    for kind, *rest in actions:
        if kind == "segment":
            found.append([])
        elif kind == "launch":
            longest += rest[0]
            found.append([launch(rest[1], max_epochs=longest)])
        elif kind == "trial":
            counts.append(0)
            found[-1].append(trial(len(counts), rest[0], sampler=rest[1], time=rest[2]))
        elif counts:
            which = rest[0] % len(counts)
            counts[which] += kind == "epoch"
            found[-1].append(_of_trial(kind, which + 1, counts[which], rest[1:]))
    return found


def _of_trial(kind: str, number: int, epochs: int, rest: list[Any]) -> Record:
    if kind == "epoch":
        return epoch(number, epochs, rest[0], **rest[1], **rest[2], **rest[3])
    record = {"kind": kind, "trial": f"t{number:04d}", "time": 2.5}
    if kind == "promote":
        return record | dict.fromkeys(schema.RUNG.names, 1)
    if kind == "retry":
        return record | {"epoch": epochs + 1, "error": rest[0]}
    return record | {"epoch": epochs + 1, "status": rest[0], "error": rest[1], "time": rest[2]}


LOGS = st.lists(ACTIONS, max_size=25).map(_segments)


# Damage. Each takes bytes, a place in them and a token, and gives other bytes.

TOKENS = [
    *(b"NaN", b"Infinity", b"-Infinity", b"nan", b"null", b"true", b"-0", b"-0.0", b"-1", b"1.5", b"1e400"),
    *(b"1e5", b"1e-400", b"01", b"1.", b".5", b"+1", b"0x1", b"9" * 30, b"9" * 5000, b"9007199254740992"),
    *(
        b"[]",
        b"{}",
        b'["a"]',
        b'[["a"]]',
        b'{"a":1}',
        b'"x"',
        b'"\\u0061"',
        b'"\\ud800"',
        b'"\xff"',
        b'"a\x01"',
    ),
    *(
        b'"\xc3\xa9"',
        b"9223372036854775808",
        b"-9223372036854775808",
        b'"stop"',
        b'"t0002"',
        b'"epoch"',
        b"2",
    ),
]
_BREAKS = [
    b"",
    b"\r\n",
    b"\n\n",
    b" \n",
    b"\n ",
    b"\n\xef\xbb\xbf",
    b"\0\n",
    b"\n\0\n",
    b",\n",
    b"}\n",
    b"\n{",
]


def cut(data: bytes, place: int, token: bytes) -> bytes:
    return data[:place]


def change_byte(data: bytes, place: int, token: bytes) -> bytes:
    return data[:place] + token[:1] + data[place + 1 :]


def insert(data: bytes, place: int, token: bytes) -> bytes:
    return data[:place] + token + data[place:]


def drop_line(data: bytes, place: int, token: bytes) -> bytes:
    lines, i = _lines_to(data, place)
    return b"".join(lines[:i] + lines[i + 1 :])


def double_line(data: bytes, place: int, token: bytes) -> bytes:
    lines, i = _lines_to(data, place)
    return b"".join(lines[: i + 1] + lines[i:])


def swap_lines(data: bytes, place: int, token: bytes) -> bytes:
    lines, i = _lines_to(data, place)
    return b"".join([*lines[:i], *lines[i : i + 2][::-1], *lines[i + 2 :]])


def _lines_to(data: bytes, place: int) -> tuple[list[bytes], int]:
    return data.splitlines(keepends=True), data.count(b"\n", 0, place)


def replace_value(data: bytes, place: int, token: bytes) -> bytes:
    """The next plain value becomes the token."""
    plain = rb':(-?[0-9.e+-]+|"[^"]*"|null)'
    return data[:place] + re.sub(plain, lambda _: b":" + token, data[place:], count=1)


def add_field(data: bytes, place: int, token: bytes) -> bytes:
    return data[:place] + re.sub(rb",", lambda _: b',"added":' + token + b",", data[place:], count=1)


def double_key(data: bytes, place: int, token: bytes) -> bytes:
    """The next key is there twice, first with the token."""
    key = rb',("[a-z_]+"):'
    return data[:place] + re.sub(key, lambda m: b"," + m[1] + b":" + token + m[0], data[place:], count=1)


def break_line(data: bytes, place: int, token: bytes) -> bytes:
    """The next end of a line becomes another."""
    at = data.find(b"\n", place)
    return data if at < 0 else data[:at] + _BREAKS[sum(token) % len(_BREAKS)] + data[at + 1 :]


def end_without_newline(data: bytes, place: int, token: bytes) -> bytes:
    return data.removesuffix(b"\n")


_DAMAGES = [
    cut,
    change_byte,
    insert,
    drop_line,
    double_line,
    swap_lines,
    replace_value,
    add_field,
    double_key,
]
DAMAGES = st.tuples(
    st.sampled_from([*_DAMAGES, replace_value, break_line, end_without_newline]),
    st.integers(0, 2),
    st.floats(0, 1),
    st.one_of(st.sampled_from(TOKENS), st.binary(min_size=1, max_size=2)),
)


def damaged(segments: list[bytes], damages: list[Any]) -> list[bytes]:
    """Segments after what `DAMAGES` say, one after the other."""
    found = list(segments)
    for damage, which, where, token in damages:
        i = which % len(found)
        found[i] = damage(found[i], round(where * len(found[i])), token)
    return found


# What there is to be found in a log, by definition: tables made record by record.


def slow_table(folder: RunFolder) -> pa.Table:
    ledger = fold(folder.read().records)
    rows = [row for trial in ledger.trials.values() for row in _slow_rows(trial, _status(folder, trial))]
    values = pa.schema([pa.field(path, _slow_type(rows, path)) for path in folder.spec.searched()])
    return pa.Table.from_pylist(rows, schema=pa.schema([*schema.HEAD, *values, *schema.TAIL]))


def _slow_rows(trial: Trial, status: str) -> list[Record]:
    common = {
        "trial": trial.id,
        "status": status,
        "seed": trial.seed,
        "sampler": trial.sampler,
        **trial.values,
    }
    names = (*schema.EPOCH, "rung", "rung_position", "rung_size")
    rows = [
        common
        | {name: record.get(name) for name in names}
        | {"epoch": record["epoch"], "time": round(record["time"] * 1000)}
        for record in trial.epochs
    ]
    if trial.ended_epoch is not None:
        ended = None if trial.ended_time is None else round(trial.ended_time * 1000)
        rows.append(common | {"epoch": trial.ended_epoch, "error": trial.error, "time": ended})
    return rows


def _slow_type(rows: list[Record], path: str) -> pa.DataType:
    kinds = {type(row[path]) for row in rows if path in row}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds and kinds <= {int, float} else pa.string()


def slow_facts(folder: RunFolder) -> list[Record]:
    return [
        {
            "trial": trial.id,
            "status": _status(folder, trial),
            "seed": trial.seed,
            "sampler": trial.sampler,
            "epochs": trial.epoch,
            "error": trial.error,
            "ended_epoch": trial.ended_epoch,
            "promotions": len(trial.promotions),
            "retries": len(trial.retries),
        }
        for trial in fold(folder.read().records).trials.values()
    ]


def _status(folder: RunFolder, trial: Trial) -> str:
    waiting = "running" if folder.is_live() else "interrupted"
    return waiting if trial.status == "running" else trial.status
