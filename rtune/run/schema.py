"""The schema of a run's results, in one place (see docs/run-folder.md)."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from rtune import metrics
from rtune.metrics import METRICS

VERSION = 4

# The `sampler` of replicates (`rtune replicate`).
REPLICATE = "replicate"

# interrupted: not ended, and no launch is running; `rtune resume` continues it.
STATUSES = ("running", "interrupted", "stopped", "finished", "diverged", "failed")

# One row per trial and epoch. Between `sampler` and the metrics come the searched values, each
# under its dotted path (float64, int64, bool or string; null where it does not apply).
HEAD = pa.schema(
    [
        pa.field("trial", pa.string(), nullable=False),
        pa.field("epoch", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("sampler", pa.string(), nullable=False),
    ]
)
# Fields of an epoch that was compared at a rung, and of a promotion.
RUNG = pa.schema([(n, pa.int64()) for n in ("rung", "rung_position", "rung_size", "rung_quota")])


def epoch() -> tuple[str, ...]:
    """Names of an epoch's values: all metrics, and `images`, the number of images of the accuracies."""
    return (*metrics.core(), "images", *metrics.added())


def tail() -> pa.Schema:
    """The columns after the searched values; metrics that older logs lack come last."""
    return pa.schema(
        [
            *_columns(metrics.core()),
            pa.field("images", pa.int64()),
            *list(RUNG)[:3],
            pa.field("time", pa.timestamp("ms", tz="UTC")),
            pa.field("error", pa.string()),
            *_columns(metrics.added()),
        ]
    )


def _columns(names: Iterable[str]) -> list[pa.Field]:
    return [pa.field(name, pa.int64() if METRICS[name].whole else pa.float64()) for name in names]


# Results of `rtune evaluate`: one row per network, attack and its settings.
EVALUATIONS = pa.schema(
    [
        pa.field("trial", pa.string(), nullable=False),
        pa.field("epoch", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("attack", pa.string(), nullable=False),
        pa.field("norm", pa.string()),
        pa.field("epsilon", pa.float64()),
        pa.field("step_size", pa.float64()),
        pa.field("steps", pa.int64()),
        pa.field("restarts", pa.int64()),
        pa.field("eot_draws", pa.int64()),
        pa.field("noise_draws", pa.int64(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),
        pa.field("accuracy", pa.float64(), nullable=False),
        pa.field("accuracy_std", pa.float64(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("device", pa.string()),
        pa.field("torch", pa.string()),
        pa.field("warnings", pa.list_(pa.string()), nullable=False),
        pa.field("time", pa.timestamp("ms", tz="UTC"), nullable=False),
    ]
)
# The fields that determine the result: an evaluation with equal ones is not repeated.
EVALUATION_KEY = tuple(EVALUATIONS.names[: EVALUATIONS.names.index("accuracy")])
# Results of `rtune evaluate --diagnose`. The records also have `figures`, a mapping.
DIAGNOSES = pa.schema(
    [
        pa.field("trial", pa.string(), nullable=False),
        pa.field("epoch", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("epsilon", pa.float64(), nullable=False),
        pa.field("step_size", pa.float64(), nullable=False),
        pa.field("steps", pa.int64(), nullable=False),
        pa.field("eot_draws", pa.int64(), nullable=False),
        pa.field("noise_draws", pa.int64(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),
        pa.field("zero_gradients", pa.int64(), nullable=False),
        pa.field("warnings", pa.list_(pa.string()), nullable=False),
        pa.field("time", pa.timestamp("ms", tz="UTC"), nullable=False),
    ]
)
DIAGNOSIS_KEY = tuple(DIAGNOSES.names[: DIAGNOSES.names.index("zero_gradients")])


def _record(**fields: pa.DataType) -> pa.Schema:
    both = {"trial": pa.string(), "time": pa.float64()}
    return pa.schema([pa.field(name, type_, nullable=False) for name, type_ in (both | fields).items()])


# The facts of a replicate: id of its original, and number of epochs.
REPLICATE_FACTS = pa.schema(
    [pa.field("of", pa.string(), nullable=False), pa.field("epochs", pa.int64(), nullable=False)]
)
# The required fields of each kind of record in a log.
RECORDS = {
    "launch": _record(
        **dict.fromkeys(("trials", "concurrency", "max_epochs"), pa.int64()),
        data=pa.string(),
        **dict.fromkeys(("train_images", "validation_images"), pa.int64()),
        command=pa.string(),
        asked=pa.string(),
    ).remove(0),
    "trial": _record(seed=pa.int64(), sampler=pa.string()),
    "epoch": _record(
        epoch=pa.int64(),
        decision=pa.string(),
        **dict.fromkeys(metrics.core(), pa.float64()),
        images=pa.int64(),
    ),
    "promote": _record(**dict.fromkeys(RUNG.names, pa.int64())),
    "lengthen": _record(epochs=pa.int64()),
    "retry": _record(epoch=pa.int64(), error=pa.string()),
    "end": _record(status=pa.string(), epoch=pa.int64(), error=pa.string()),
    "evaluation": EVALUATIONS,
    "diagnosis": DIAGNOSES,
}
_ALLOWED = {
    "command": ("search", "resume", "replicate"),
    "decision": ("continue", "stop", "finish"),
    "status": ("diverged", "failed"),
}

_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("images", "train_images", "validation_images", "noise_draws", "epochs"), (1, 2**53)),
    **{m.name: (0, math.nextafter(1, 2)) for m in METRICS.own() if m.core and m.is_fraction},
    "accuracy": (0, math.nextafter(1, 2)),
    "accuracy_std": (0, 1),
}


class _Check(NamedTuple):
    """The rule for the values of a field; built once, since millions of records are checked."""

    name: str
    nullable: bool
    kind: str  # text, texts, whole or number
    allowed: tuple[str, ...] | None
    low: float
    high: float


def fits(record: Mapping[str, Any], schema: pa.Schema) -> bool:
    """Whether a record has every field of a schema, each of its type and range; null only if nullable."""
    for check in _checks(schema):
        if check.name not in record:
            return False
        value = record[check.name]
        if value is None:
            if not check.nullable:
                return False
        elif not _fits(value, check):
            return False
    return True


def _checks(schema: pa.Schema) -> list[_Check]:
    # By identity: hashing a schema takes longer than the checks.
    found = _CHECKS.get(id(schema))
    if found is None:
        found = _CHECKS[id(schema)] = (schema, [_check(field) for field in schema])
    return found[1]


_CHECKS: dict[int, tuple[pa.Schema, list[_Check]]] = {}


def _check(field: pa.Field) -> _Check:
    kinds = {"text": pa.types.is_string, "texts": pa.types.is_list, "whole": pa.types.is_integer}
    kind = next((name for name, is_ in kinds.items() if is_(field.type)), "number")
    low, high = _RANGES.get(field.name, (0, 2**53))
    return _Check(field.name, field.nullable, kind, _ALLOWED.get(field.name), low, high)


def _fits(value: Any, check: _Check) -> bool:
    if check.kind == "text":
        return isinstance(value, str) and (check.allowed is None or value in check.allowed)
    if check.kind == "texts":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if isinstance(value, bool) or not isinstance(value, int if check.kind == "whole" else int | float):
        return False
    return check.low <= value < check.high
