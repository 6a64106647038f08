"""A space with finitely many settings: each is trained once, and then the search ends."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtune.config import spec
from rtune.run.ledger import fold
from rtune.search.limits import Limits
from rtune.search.plan import of_launch, of_spec
from rtune.search.state import Search
from tests.support.plans import metrics

TREE = {
    "model": {
        "network": {"choice": ["resnet", "enresnet"]},
        "enresnet": {"members": {"int_uniform": [1, 3]}},
    },
    "training": {"batch_size": {"choice": [16, 32]}},
    "points": [
        {"model.network": "resnet", "training.batch_size": 64},
        {"model.network": "enresnet", "model.enresnet.members": 2},
        {"model.network": "enresnet", "model.enresnet.members": 2},
        {"model.network": "enresnet", "model.enresnet.members": 2},
    ],
}
# resnet with 16, 32 and 64 images, and enresnet with three numbers of members and two of images.
SETTINGS = 9


def load(trials: int, sampler: str = "random", **more: Any) -> spec.Spec:
    return spec.from_tree({**TREE, **more, "search": {"trials": trials, "sampler": sampler}}, {}, "test")


def trained(found: spec.Spec, records: list[dict[str, Any]], launches: int = 1) -> list[dict[str, Any]]:
    """Values of all trials after a search, of which each trial ends at its first epoch."""
    search = Search(of_spec(found), records, records.append)
    while (trial := search.next_trial()) is not None:
        search.end(trial.id, "failed", "x")
    assert search.is_done()
    return [trial.values for trial in search.ledger.own.values()]


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "gp"])
def test_each_setting_is_trained_once_and_then_the_search_ends(sampler: str) -> None:
    found = load(40, sampler)
    assert (found.settings, found.trials) == (SETTINGS, SETTINGS)
    values = trained(found, [])
    assert len({found.space.key(v) for v in values}) == len(values) == SETTINGS
    # The points come first, and what they leave open differs as long as it can.
    assert values[0] == TREE["points"][0]
    assert [v.get("model.enresnet.members") for v in values[1:3]] == [2, 2]
    assert sorted(v["training.batch_size"] for v in values[1:3]) == [16, 32]


def test_a_search_of_one_point_is_one_trial() -> None:
    point = {"training.lr": 0.05}
    found = spec.from_tree({"points": [point], "search": {"trials": 4}}, {}, "test")
    assert (found.settings, found.trials) == (1, 1)
    one_choice = {"training": {"lr": {"choice": [0.05]}}, "points": [point], "search": {"trials": 4}}
    assert trained(spec.from_tree(one_choice, {}, "test"), []) == [point]


def test_a_value_that_is_the_files_own_is_no_other_setting() -> None:
    points = [{"training.lr": 0.05}, {"training.lr": 0.05, "model.width": 16}, {"model.width": 16}]
    found = spec.from_tree({"points": points, "search": {"trials": 4}}, {}, "test")
    assert found.settings == 2


def test_a_space_with_a_continuous_range_has_no_end() -> None:
    found = load(40, training={"batch_size": {"choice": [16]}, "lr": {"uniform": [0.1, 0.2]}})
    assert (found.settings, found.trials) == (None, 40)
    assert of_spec(found).space is None


def test_a_large_space_is_not_listed_but_no_setting_comes_twice() -> None:
    tree = {
        "training": {"batch_size": {"int_uniform": [1, 2**30]}},
        "points": [{"training.batch_size": 7}] * 3,
    }
    found = spec.from_tree({**tree, "search": {"trials": 8}}, {}, "test")
    assert (found.settings, found.trials) == (None, 8)
    values = trained(found, [])
    assert len({found.space.key(v) for v in values}) == len(values) == 8


@settings(deadline=None, max_examples=30)
@given(done=st.integers(0, 12), trials=st.integers(1, 30), doubled=st.booleans())
def test_a_resume_trains_what_is_left(done: int, trials: int, doubled: bool) -> None:
    """Also of a run by an earlier rtune, whose log has settings twice."""
    found = load(30)
    values = trained(found, [])[:done]
    values += values if doubled else []
    records = [
        {"kind": "trial", "trial": f"t{i:04d}", "seed": i, "values": v, "sampler": "random", "facts": {}}
        | {"time": 0.0}
        for i, v in enumerate(values, 1)
    ]
    for record in list(records):
        epoch = {"kind": "epoch", "trial": record["trial"], "epoch": 200, "decision": "finish", "time": 0.0}
        rung = dict.fromkeys(("rung", "rung_position", "rung_size", "rung_quota"))
        records.append({**epoch, **rung, **metrics(record["trial"], 200)})
    ledger = fold(records)
    wanted = max(trials, len(values))
    planned = of_launch(found, Limits.of(found.search, wanted, 200), ledger)
    search = Search(planned, records, lambda record: None)
    before = [trial.values for trial in ledger.own.values()]
    new = []
    while (trial := search.next_trial()) is not None:
        if trial.id in ledger.own:
            continue
        new.append(found.space.key(trial.values))
        search.end(trial.id, "failed", "x")
    tried = {found.space.key(v) for v in before}
    assert len(set(new)) == len(new)
    assert not tried & set(new)
    assert len(before) + len(new) == min(wanted, len(before) + SETTINGS - len(tried))
