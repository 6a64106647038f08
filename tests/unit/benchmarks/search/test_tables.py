"""Recorded tables: what is read from a file, what is refused, and which setting is nearest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import record
from benchmarks.search.ours import Rtune
from benchmarks.search.simulation import simulate
from benchmarks.search.tables import FRACTIONS, Setting, Table, TableError, load
from rtune.config.ranges import Choice, Uniform
from rtune.robust import Split
from tests.support.recorded import OBJECTIVES, write

WRITTEN = [
    {"config": "a", "epoch": 2, "natural_accuracy": 0.8, "train_seconds": 3},
    {"config": "a", "epoch": 1, "natural_accuracy": 0.6, "train_seconds": 2},
    {"config": "b", "epoch": 1, "natural_accuracy": 0.1, "train_seconds": 5},
]
A = {"lr": 0.001, "width": 8, "method": "rgsm", "rgsm.lambda": 0.3, "rgsm.kind": "none"}
B = {"lr": 1, "width": 16, "method": "rvsm"}


def rows(*values: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(row) | values[ord(row["config"]) - ord("a")] for row in WRITTEN]


def test_load_reads_a_table_written_by_hand(tmp_path: Path) -> None:
    table = load(write(tmp_path / "t.csv", rows(A, B)), ["natural_accuracy", "train_seconds:min"])
    assert table.objectives == ("natural_accuracy", "train_seconds")
    assert table.max_epochs == 2
    first, second = table.settings
    assert (first.values, second.values) == (A, B)
    # Epochs are in order, and seconds that are minimised count from the table's worst, 5, on.
    assert first.curve == pytest.approx(np.array([[0.6, 3], [0.8, 2]]))
    assert first.seconds.tolist() == [2, 3]
    assert second.curve == pytest.approx(np.array([[0.1, 0]]))
    # The second one diverged: it is no network of the table's front.
    assert table.full_hypervolume == pytest.approx(0.8 * 2)


def test_table_may_have_a_row_for_the_epoch_that_diverged(tmp_path: Path) -> None:
    made = rows(A, B)
    broken = dict.fromkeys(FRACTIONS, "")
    extra = {"config": "b", "epoch": 2, "train_seconds": 4} | B | broken
    at_once = {"config": "c", "epoch": 1, "train_seconds": 7} | B | broken
    table = load(write(tmp_path / "t.csv", [*made, extra, at_once]), OBJECTIVES)
    assert [len(setting.curve) for setting in table.settings] == [2, 1, 0]
    assert [setting.seconds.tolist() for setting in table.settings] == [[2, 3], [5, 4], [7]]
    method = Rtune(table, 0, sampler="random")
    # All are tried, and each epoch is spent, those that diverge too.
    assert (np.diff(simulate(table, method, 1, 5), prepend=0) != 0).sum() == 1
    assert sorted(trial.status for trial in method.search.ledger.trials.values()) == [
        "diverged",
        "diverged",
        "finished",
    ]
    # In the middle of a curve, or half empty, it is a mistake.
    for row in ({"epoch": 1}, {"epoch": 2, "natural_accuracy": 0.5}):
        with pytest.raises(TableError, match="an empty cell"):
            load(
                write(tmp_path / "bad.csv", [made[0] | broken | row, made[1] | {"epoch": 3 - row["epoch"]}]),
                OBJECTIVES,
            )


def test_record_writes_a_row_for_a_setting_that_diverges_at_once(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "data: {dataset: digits}\nmodel: {width: 1}\nattack: {steps: 1}\nevaluation: {steps: 1}\n"
        "pruning: {method: none}\ntraining: {max_epochs: 3, batch_size: 512, lr: {uniform: [1e29, 2e29]}}\n"
    )
    number, values, found = record.curve((str(space), 7, {"training.lr": 1.5e29}, record.Reduction()))
    assert (number, values) == (7, {"training.lr": 1.5e29})
    assert [(row["config"], row["epoch"], set(row)) for row in found] == [
        (7, 1, {"config", "epoch", "train_seconds"})
    ]


def test_reduction_keeps_equally_many_images_per_class_and_averages_squares() -> None:
    images = torch.arange(2 * 12 * 16, dtype=torch.uint8).view(24, 1, 4, 4)
    split = Split(images, torch.arange(24) % 3)
    train, validation = record.Reduction(train_images=6, pool=2)(split, split)
    assert [(len(part), tuple(part.images.shape[1:])) for part in (train, validation)] == [
        (6, (1, 2, 2)),
        (24, (1, 2, 2)),
    ]
    assert train.labels.bincount().tolist() == [2, 2, 2]
    # 0, 1, 4 and 5 are the first square of the first image.
    assert validation.images[0, 0, 0, 0] == 2
    assert all((a is b) for a, b in zip(record.Reduction()(split, split), (split, split), strict=True))


def test_load_finds_ranges_and_conditions(tmp_path: Path) -> None:
    table = load(write(tmp_path / "t.csv", rows(A, B)), OBJECTIVES)
    assert table.ranges == {
        "lr": Uniform(0.001, 1.0, log=True),
        "width": Uniform(8.0, 16.0),
        "method": Choice(("rgsm", "rvsm")),
        "rgsm.lambda": Choice((0.3,)),
        "rgsm.kind": Choice(("none",)),
    }
    assert table.openers == {"rgsm.lambda": ("method", ("rgsm",)), "rgsm.kind": ("method", ("rgsm",))}
    assert table.is_active("rgsm.lambda", {"method": "rgsm"})
    assert not table.is_active("rgsm.lambda", {"method": "rvsm"})
    assert table.is_active("lr", {})


def test_load_finds_nested_conditions_in_any_column_order(tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [
        {"radius": 1, "kind": "ball", "pruned": True},
        {"radius": 2, "kind": "ball", "pruned": True},
        {"kind": "cube", "pruned": True},
        {"pruned": False},
    ]
    made = [{"config": i, "epoch": 1} | values for i, values in enumerate(kinds)]
    table = load(write(tmp_path / "t.csv", made), OBJECTIVES)
    assert table.openers == {"kind": ("pruned", (True,)), "radius": ("kind", ("ball",))}
    # In this order each can be chosen when what opens it has been.
    assert list(table.ranges) == ["pruned", "kind", "radius"]


def test_column_without_values_is_ignored(tmp_path: Path) -> None:
    table = load(write(tmp_path / "t.csv", rows(A | {"unused": ""}, B)), OBJECTIVES)
    assert "unused" not in table.ranges


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"epoch": 3}, "has the epochs [1, 3] for config a; 1, 2, ... are expected"),
        ({"epoch": 1}, "has the epochs [1, 1] for config a; 1, 2, ... are expected"),
        ({"epoch": "two"}, "has 'two' in its column epoch; a number is expected"),
        ({"robust_accuracy": ""}, "has an empty cell in its column robust_accuracy; a number is expected"),
        ({"robust_accuracy": "inf"}, "has inf in its column robust_accuracy; a number is expected"),
        ({"robust_accuracy": "nan"}, "has 'nan' in its column robust_accuracy; a number is expected"),
        ({"weight_sparsity": 80}, "has 80 in its column weight_sparsity; a fraction from 0 to 1 is expected"),
        ({"train_seconds": -1}, "has -1 in its column train_seconds; a number of at least 0 is expected"),
        ({"config": ""}, "has an empty cell in its column config"),
        ({"lr": 0.5}, "has several values of lr for config a; one is expected"),
    ],
)
def test_a_bad_row_is_refused(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    made = rows(A, B)
    made[0] |= change
    file = write(tmp_path / "t.csv", made)
    with pytest.raises(TableError) as refusal:
        load(file, OBJECTIVES)
    assert str(refusal.value) == f"{file} {sentence}"


@pytest.mark.parametrize(
    ("objectives", "sentence"),
    [
        (["natural_accuracy", "speed"], "--objectives has 'speed'; known are natural_accuracy, "),
        (
            ["natural_accuracy:up", "weight_sparsity"],
            "--objectives has 'natural_accuracy:up'; a direction is ",
        ),
        (["natural_accuracy"], "--objectives is natural_accuracy; two or more different ones are expected"),
        (["natural_accuracy", "natural_accuracy:min"], "two or more different ones are expected"),
    ],
)
def test_bad_objectives_are_refused(tmp_path: Path, objectives: list[str], sentence: str) -> None:
    with pytest.raises(TableError) as refusal:
        load(write(tmp_path / "t.csv", rows(A, B)), objectives)
    assert sentence in str(refusal.value)


def test_a_table_without_searched_values_or_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="has no column of a searched value"):
        load(write(tmp_path / "t.csv", WRITTEN), OBJECTIVES)
    flat = [row | {"weight_sparsity": 0} for row in rows(A, B)]
    with pytest.raises(TableError, match="their hypervolume is 0"):
        load(write(tmp_path / "t.csv", flat), OBJECTIVES)


RANGES = {
    "size": Uniform(0.0, 10.0),
    "rate": Uniform(0.01, 100.0, log=True),
    "method": Choice(("rgsm", "rvsm")),
    "lambda": Uniform(1.0, 3.0),
}
SCALES = {
    "size": lambda v: v / 10,
    "rate": lambda v: (np.log10(v) + 2) / 4,
    "lambda": lambda v: (v - 1) / 2,
}
VALUES = st.fixed_dictionaries(
    {
        "size": st.floats(0, 10),
        "rate": st.floats(0.01, 100),
        "method": st.sampled_from(["rgsm", "rvsm"]),
    },
    optional={"lambda": st.floats(1, 3)},
)


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The definition, column by column."""
    total = 0.0
    for path in RANGES:
        if path in one and path in other:
            if path == "method":
                total += one[path] != other[path]
            else:
                total += abs(SCALES[path](one[path]) - SCALES[path](other[path]))
        else:
            total += (path in one) != (path in other)
    return total


@given(st.lists(VALUES, min_size=1, max_size=8), VALUES, st.data())
def test_nearest_returns_the_nearest_unused_setting(
    settings: list[Any], wanted: dict[str, Any], data: st.DataObject
) -> None:
    none = np.zeros((1, 2))
    table = Table(("a", "b"), 1, [Setting(v, none, none[0]) for v in settings], RANGES, {})
    places = list(range(len(settings)))
    unused = sorted(data.draw(st.sets(st.sampled_from(places), min_size=1)))
    chosen = table.nearest(wanted, unused)
    assert chosen in unused
    assert apart(settings[chosen], wanted) <= min(apart(settings[i], wanted) for i in unused) + 1e-9


def test_nearest_takes_the_first_of_equally_near_settings() -> None:
    none = np.zeros((1, 2))
    same = {"size": 1.0, "rate": 1.0, "method": "rgsm"}
    table = Table(("a", "b"), 1, [Setting(same, none, none[0])] * 3, RANGES, {})
    assert table.nearest(same, [1, 2]) == 1
