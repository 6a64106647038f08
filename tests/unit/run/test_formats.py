"""Records, search files and checkpoints of earlier formats, converted."""

import json
from pathlib import Path
from typing import Any

import pytest

from rtune.config import spec
from rtune.robust import data
from rtune.run import formats, ledger, log, schema
from rtune.run.formats import Converter
from rtune.storage.places import place

SEARCH_FILE = {
    "data": {"dataset": "digits"},
    "training": {"max_epochs": 10, "lr": {"uniform": [0.1, 0.2]}},
    "search": {"trials": 3, "early_stopping": {"grace": None, "eta": 3}},
}
FIRST = {"kind": "launch", "time": 1.0, "trials": 3, "concurrency": 1}
METRICS = {
    **dict.fromkeys(("natural_accuracy", "robust_accuracy", "weight_sparsity", "channel_sparsity"), 0.5),
    **dict.fromkeys(("removable_channels", "train_seconds", "eval_seconds"), 0.5),
    **dict.fromkeys(("macs", "parameters"), 10),
}


def converter(version: int, early: dict[str, Any] | None = None) -> Converter:
    tree = json.loads(json.dumps(SEARCH_FILE))
    if early is not None:
        tree["search"]["early_stopping"] = early
    found = spec.from_tree(formats.search_file(tree, version), {}, "test")
    return Converter(version, found, formats.rounds_up(tree, version))


def read(tmp_path: Path, records: list[dict[str, Any]], version: int) -> log.Log:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "0001.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return log.read(place(folder), {}, converter(version))


def epoch(**fields: Any) -> dict[str, Any]:
    named = {"kind": "epoch", "trial": "t0001", "epoch": 1, "decision": "continue", "time": 2.0}
    return {**named, **METRICS, **fields}


TRIAL = {
    "kind": "trial",
    "trial": "t0001",
    "seed": 1,
    "values": {},
    "sampler": "tpe",
    "facts": {},
    "time": 1.5,
}


@pytest.mark.parametrize("name", sorted(formats.SPLITS))
def test_numbers_of_images_are_those_of_the_splits(name: str) -> None:
    train, validation = formats.SPLITS[name]
    held = data.SOURCES[name].validation
    assert validation == (held if isinstance(held, int) else -(-(train + validation) * held // 1))
    if name == "digits":
        assert (train, validation) == tuple(map(len, data.load("digits")))


def test_first_launches_and_epochs_become_whole_records(tmp_path: Path) -> None:
    found = read(tmp_path, [FIRST, TRIAL, epoch(rung=1, rung_position=1, rung_size=1)], version=1)
    assert not found.notes
    launch, _, first = found.records
    assert schema.fits(launch, schema.RECORDS["launch"])
    assert (launch["command"], launch["asked"], launch["data"]) == ("search", "", "")
    assert (launch["max_epochs"], launch["rungs"]) == (10, [2])
    assert (launch["train_images"], launch["validation_images"]) == (1_077, 360)
    assert launch["search"]["training"]["max_epochs"] == 10
    assert (first["images"], first["rung_quota"]) == (360, 1)


@pytest.mark.parametrize(
    ("early", "quota"), [({"eta": 3}, 2), ({"eta": 3, "brackets": 1}, 1), ({"eta": 5, "brackets": 1}, 1)]
)
def test_quotas_that_were_not_recorded_are_rounded_as_then(early: dict[str, Any], quota: int) -> None:
    old = {"kind": "promote", "trial": "t0001", "rung": 1, "rung_position": 2, "rung_size": 4, "time": 1.0}
    assert converter(1, early)(old, ["t0001"])["rung_quota"] == quota


@pytest.mark.parametrize(
    ("early", "grace"),
    [
        ({"eta": 3}, 2),
        ({"eta": 3, "grace": None, "brackets": 1}, None),
        ({"eta": 3, "grace": 4}, 4),
    ],
)
def test_default_rung_was_rounded_up_before_brackets(early: dict[str, Any], grace: int | None) -> None:
    tree = SEARCH_FILE | {"search": {"early_stopping": early}}
    found = formats.search_file(tree, 1)["search"]["early_stopping"]
    assert found.get("grace") == grace
    assert formats.search_file(tree, 2) is tree


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"search": None},
        {"search": {"early_stopping": {"eta": 0}}, "training": {"max_epochs": 3}},
        {"search": {"early_stopping": {"eta": "x"}}},
        {"search": {"early_stopping": {"eta": 2}}, "training": []},
    ],
)
def test_damaged_search_files_are_left_to_their_check(tree: dict[str, Any]) -> None:
    assert formats.search_file(tree, 1) is tree


def test_numbers_of_images_come_from_the_launch_if_it_has_them(tmp_path: Path) -> None:
    launch = {**FIRST, "train_images": 70, "validation_images": 30}
    launch |= {"max_epochs": 10, "rungs": [], "search": {}, "data": "ab"}
    found = read(tmp_path, [launch, TRIAL, epoch()], version=2)
    assert not found.notes
    assert found.records[2]["images"] == 30
    assert found.records[0]["data"] == "ab"


@pytest.mark.parametrize(("version", "left_out"), [(1, 0), (2, 0), (3, 1), (4, 1)])
def test_missing_images_are_damage_since_they_are_recorded(
    tmp_path: Path, version: int, left_out: int
) -> None:
    launch = {**FIRST, "train_images": 70, "validation_images": 30, "command": "search"}
    launch |= {"max_epochs": 10, "rungs": [], "search": {}, "data": "ab"}
    assert len(read(tmp_path, [launch, TRIAL, epoch()], version).notes) == left_out


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_records_of_today_stay_as_they_are(version: int) -> None:
    launch = {**FIRST, "max_epochs": 4, "rungs": [], "search": {}, "data": "ab", "command": "resume"}
    launch |= {"asked": "--x", "train_images": 7, "validation_images": 3}
    new = [launch, TRIAL, epoch(images=90, rung=1, rung_position=1, rung_size=1, rung_quota=1)]
    convert = converter(version)
    assert [convert(record, ["t0001"]) for record in new] == new


def test_launch_that_began_replicates_is_one_of_replicate(tmp_path: Path) -> None:
    launch = {**FIRST, "train_images": 70, "validation_images": 30}
    launch |= {"max_epochs": 10, "rungs": [], "search": {}, "data": "ab"}
    repeat = TRIAL | {"trial": "t0001r1", "sampler": "replicate", "facts": {"of": "t0001", "epochs": 1}}
    longer = {"kind": "lengthen", "trial": "t0001r1", "epochs": 2, "time": 3.0}
    records = [launch, TRIAL, launch, launch, repeat, launch, launch, longer]
    found = read(tmp_path, records, version=3)
    assert not found.notes
    commands = [launch.command for launch in ledger.fold(found.records).launches]
    assert commands == ["search", "resume", "replicate", "resume", "replicate"]


@pytest.mark.parametrize("version", [None, 0, 5, "4", 4.0, True, [1]])
def test_unknown_schemas(version: object) -> None:
    assert not formats.is_known(version)


@pytest.mark.parametrize("record", [{"rung_size": "x"}, {"rung_size": None}, {"rung_size": [1]}])
def test_damaged_records_stay_damaged(record: dict[str, Any]) -> None:
    convert = converter(1)
    assert convert({"kind": "promote", **record}, []) == {"kind": "promote", **record}
    assert convert({"kind": "launch", "trials": None}, [])["trials"] is None


def test_header_of_format_1_has_the_metrics_of_its_epoch() -> None:
    header = {"format": 1, "trial": "t0001", "epoch": 3, "config": {}, "metrics": METRICS}
    found = formats.checkpoint_header(header)
    assert found == {"format": 2, "trial": "t0001", "config": {}, "history": [{}, {}, METRICS]}
    assert formats.history(found["history"], 360) == [{}, {}, METRICS | {"images": 360}]


@pytest.mark.parametrize("epoch", [0, -1, 2**40, True, "1", None])
def test_header_of_format_1_with_an_impossible_epoch_is_refused(epoch: object) -> None:
    with pytest.raises(ValueError, match="not valid"):
        formats.checkpoint_header({"format": 1, "epoch": epoch, "metrics": {}})
