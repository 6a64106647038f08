"""The search as a fold over its log: what lived through a log equals what is rebuilt from it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtune.search.state import Search
from tests.support.plans import TREE, drive, make_plan, make_spec, metrics, picture


@settings(max_examples=25, deadline=None)
@given(choices=st.data(), sampler=st.sampled_from(["random", "tpe", "nsga2"]), cut=st.integers(0, 200))
def test_search_rebuilt_from_the_log_equals_the_original(choices: Any, sampler: str, cut: int) -> None:
    log: list[str] = []
    lived = Search(make_plan(sampler), [], lambda record: log.append(json.dumps(record)))
    drive(lived, choices, steps=cut)
    rebuilt = Search(make_plan(sampler), [json.loads(line) for line in log], lambda record: None)
    assert picture(rebuilt) == picture(lived)


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_search_resumed_at_any_record_ends_like_an_uninterrupted_one(sampler: str) -> None:
    """One worker: the log of a search that is rebuilt after every record is the same log."""

    def run(cut: bool) -> list[dict[str, Any]]:
        log: list[str] = []

        def append(record: dict[str, Any]) -> None:
            log.append(json.dumps({k: v for k, v in record.items() if k != "time"}))

        def rebuilt() -> Search:
            return Search(make_plan(sampler), [{**json.loads(line), "time": 0.0} for line in log], append)

        while (search := rebuilt()).remaining() > 0:
            drive(search, None, workers=1, steps=1 if cut else 10_000)
        return [json.loads(line) for line in log]

    assert run(cut=True) == run(cut=False)


def test_late_in_a_search_more_waiting_trials_are_promoted() -> None:
    """Of the same six at the first rung, more at the end than while most trials have yet to begin."""

    def gone_on(trials: int) -> int:
        log: list[dict[str, Any]] = []
        search = Search(make_plan("random", trials), [], log.append)
        names = [trial.id for _ in range(6) if (trial := search.next_trial()) is not None]
        for name in names:
            search.report(name, 1, metrics(name, 1) | {"natural_accuracy": int(name[1:]) / 10})
        handed = {trial.id for _ in range(6) if (trial := search.next_trial()) is not None}
        kept = {r["trial"] for r in log if r["kind"] == "epoch" and r["decision"] == "continue"}
        promoted = [r for r in log if r["kind"] == "promote"]
        assert {r["trial"] for r in promoted} <= handed
        assert all(r["rung_position"] <= r["rung_quota"] for r in promoted)
        return len(kept | {r["trial"] for r in promoted})

    assert gone_on(trials=6) > gone_on(trials=600)


def test_who_waits_at_a_rung_is_what_the_log_says() -> None:
    """Earlier versions had other quotas: who went on then is not promoted, who was stopped may be."""
    log: list[dict[str, Any]] = []
    search = Search(make_plan("random", 600), [], log.append)
    names = [trial.id for _ in range(6) if (trial := search.next_trial()) is not None]
    for name in names:
        search.report(name, 1, metrics(name, 1) | {"natural_accuracy": int(name[1:]) / 10})
    other = {"stop": "continue", "continue": "stop"}
    old = [r | {"decision": other[r["decision"]]} if r["kind"] == "epoch" else r for r in log]
    rebuilt = Search(make_plan("random", 600), old, lambda record: None)
    waiting = [r["trial"] for r in old if r.get("decision") == "stop"]
    assert waiting
    assert 0 < len(waiting) < len(names)
    promoted = []
    while (name := rebuilt.halving.promotable(leniency=100)) is not None:
        rebuilt.halving.promote(name)
        promoted.append(name)
    assert sorted(promoted) == waiting


def test_points_come_before_suggestions_up_to_the_number_of_trials() -> None:
    log: list[dict[str, Any]] = []
    search = Search(make_plan(trials=5), [], log.append)
    drive(search, None)
    trials = list(search.ledger.trials.values())
    assert [t.id for t in trials] == ["t0001", "t0002", "t0003", "t0004", "t0005"]
    assert TREE["points"][0].items() <= trials[0].values.items()
    assert {"model.network", "training.batch_size"} <= set(trials[0].values)  # what a point leaves open
    assert [t.sampler for t in trials] == ["point"] + ["tpe"] * 4
    assert len({t.seed for t in trials}) == 5
    assert search.remaining() == 0
    more = Search(make_plan(trials=7), log, log.append)
    assert more.remaining() == 2
    drive(more, None)
    assert len(more.ledger.trials) == 7


def test_suggestions_contain_only_values_that_apply() -> None:
    search = Search(make_plan("random", trials=40), [], lambda record: None)
    drive(search, None)
    for trial in list(search.ledger.trials.values())[1:]:
        methods = {p.split(".")[1] for p in trial.values if p.startswith("pruning.") and p.count(".") == 2}
        assert methods == {trial.values["pruning.method"]}
        assert ("model.enresnet.gamma" in trial.values) == (trial.values["model.network"] == "enresnet")
        assert make_spec().trial_config(trial.values)


def test_unfinished_trials_continue_before_new_ones_start() -> None:
    log: list[dict[str, Any]] = []
    first = Search(make_plan(), [], log.append)
    names = [first.next_trial().id for _ in range(3)]
    first.report(names[0], 1, metrics(names[0], 1))
    second = Search(make_plan(), log, log.append)
    assert [second.next_trial().id for _ in range(3)] == names
    assert second.ledger.trials[names[0]].epoch == 1
    assert second.next_trial().id == "t0004"


def test_epoch_reported_twice_is_recorded_once() -> None:
    log: list[dict[str, Any]] = []
    search = Search(make_plan(), [], log.append)
    name = search.next_trial().id
    assert search.report(name, 1, metrics(name, 1))
    assert search.report(name, 1, metrics(name, 1))
    assert sum(r["kind"] == "epoch" for r in log) == 1


def test_sampler_gets_the_forecast_of_a_stopped_trial() -> None:
    search = Search(make_plan("tpe", trials=40), [], lambda record: None)
    drive(search, None, workers=2)
    trials = list(search.ledger.trials.values())
    told = search.suggester.observations(trials)
    grew = 0
    for trial, frozen in zip(trials, told, strict=True):
        last = trial.point(search.plan.objectives)
        assert last is not None
        if trial.status == "finished":
            assert frozen.values == list(last)
        else:
            # Accuracies grow with the epochs in these curves, sparsity does not.
            assert trial.status == "stopped"
            grew += frozen.values[0] > last[0]
            assert frozen.values[2] == pytest.approx(last[2])
    assert grew > 10


def test_stopped_trial_is_promoted_when_it_is_among_the_best() -> None:
    log: list[dict[str, Any]] = []
    search = Search(make_plan("random", trials=40), [], log.append)
    drive(search, None)
    promoted = [record["trial"] for record in log if record["kind"] == "promote"]
    assert promoted
    assert any(search.ledger.trials[name].status == "finished" for name in promoted)
    for name in promoted:
        epochs = [r["epoch"] for r in log if r["kind"] == "epoch" and r["trial"] == name]
        assert epochs == list(range(1, len(epochs) + 1))
    assert search.is_done()


def test_search_is_not_done_while_a_running_trial_may_cause_a_promotion() -> None:
    search = Search(make_plan("random", trials=1), [], lambda record: None)
    only = search.next_trial()
    assert search.next_trial() is None
    assert not search.is_done()
    for epoch in range(1, 10):
        search.report(only.id, epoch, metrics(only.id, epoch))
    assert search.is_done()


def test_what_the_log_decided_holds_whatever_would_be_decided_now() -> None:
    """As where an earlier version ordered the rung otherwise: the best waits, the weakest has gone on."""
    log: list[dict[str, Any]] = []
    first = Search(make_plan("random", trials=6), [], log.append)
    names = [trial.id for _ in range(6) if (trial := first.next_trial()) is not None]
    for name in names:
        accuracy = 1 - int(name[1:]) / 10  # the first to arrive is the best
        first.report(name, 1, metrics(name, 1) | dict.fromkeys(first.plan.metrics[:3], accuracy))
    best, weakest = names[0], names[-1]
    decided = {record["trial"]: record for record in log if record["kind"] == "epoch"}
    assert (decided[best]["decision"], decided[weakest]["decision"]) == ("continue", "stop")
    decided[best]["decision"], decided[weakest]["decision"] = "stop", "continue"
    again = Search(make_plan("random", trials=6), log, lambda record: None)
    handed = [trial.id for _ in range(2) if (trial := again.next_trial()) is not None]
    assert handed == [weakest, best]
    assert again.halving.promotable(6) not in handed
