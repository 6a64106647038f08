"""What a person is told of a trial and of the epochs saved."""

from typing import Any

import pytest

from rtune.config import spec
from rtune.errors import UnknownTrialError
from rtune.run import schema, summary
from rtune.search import explain
from rtune.search.plan import of_spec
from rtune.search.state import Search
from tests.support.run_folders import logs

SPEC = spec.from_tree(
    {
        "data": {"dataset": "digits"},
        "training": {"max_epochs": 9},
        "pruning": {"rvsm": {"beta": {"log_uniform": [0.01, 1]}}},
        "search": {"trials": 4, "sampler": "random", "early_stopping": {"grace": 1, "eta": 2}},
    },
    {},
    "test",
)


def figures(level: float) -> dict[str, Any]:
    return {name: level if name in SPEC.search.objectives else 360 for name in schema.epoch()}


@pytest.fixture
def log() -> list[dict[str, Any]]:
    """t0001 goes on alone; t0002 and t0003 are worse and wait; t0004 breaks; t0002 comes back."""
    records: list[dict[str, Any]] = []
    search = Search(of_spec(SPEC), [], records.append)
    names = [search.next_trial().id for _ in range(4)]
    search.report(names[0], 1, figures(0.9))
    search.report(names[1], 1, figures(0.5))
    search.report(names[2], 1, figures(0.4))
    search.end(names[3], "diverged", "the loss is nan")
    assert search.next_trial().id == "t0002"  # of four, two may go on
    for epoch in (2, 3):
        search.report("t0002", epoch, figures(0.6))
    return records


def test_explain_gives_place_quota_and_better_trials_of_each_rung(log: list[dict[str, Any]]) -> None:
    lines = list(explain.explain(log, SPEC, "t0002"))
    assert lines[0].startswith("t0002: beta=")
    assert "(suggested by: random, seed 2)" in lines[0]
    assert lines[1:4] == [
        "  rung at epoch 1: place 2 of the 2 trials there; the best 1 may continue: stopped; "
        "as good in every objective and better in one: t0001",
        "  rung at epoch 1: later place 2 of the 4 trials there; the best 2 may continue: promoted",
        "  rung at epoch 2: place 1 of the 1 trials there; the best 1 may continue: continued; "
        "no trial there was as good in every objective",
    ]
    assert lines[4].startswith("  running at epoch 3/9: natural_accuracy 0.600")


def test_explain_gives_the_reason_of_a_failure(log: list[dict[str, Any]]) -> None:
    assert list(explain.explain(log, SPEC, "t0004"))[1:] == ["  diverged in epoch 1/9: the loss is nan"]


def test_explain_says_what_decided_among_trials_of_equal_rank() -> None:
    search = Search(of_spec(SPEC), [], (records := []).append)
    first, second, third = SPEC.search.objectives
    for own in ((0.5, 0.5, 0.5), (0.6, 0.6, 0.1), (0.1, 0.1, 0.52)):
        trial = search.next_trial()
        report = figures(0.0) | dict(zip((first, second, third), own, strict=True))
        search.report(trial.id, 1, report)
    line = list(explain.explain(records, SPEC, "t0003"))[1]
    assert line.endswith(
        "place 3 of the 3 trials there; the best 1 may continue: stopped; no trial there was as good in "
        "every objective, as for 2 others; by hypervolume contribution it has place 3 "
        "of these 3"
    )
    assert "as for another one" in list(explain.explain(records, SPEC, "t0002"))[1]


def lengthened(to: int, rungs: list[int]) -> list[dict[str, Any]]:
    """A better and a worse training of 9 epochs, a replicate of the better, then a launch of longer ones."""
    records: list[dict[str, Any]] = [logs.launch(max_epochs=9, rungs=[])]
    for number, level in ((1, 0.8), (2, 0.5)):
        records.append(logs.trial(number))
        records += [logs.epoch(number, epoch, **figures(level)) for epoch in range(1, 10)]
    again = {"trial": "t0001r1", "sampler": "replicate", "facts": {"of": "t0001", "epochs": 9}}
    records.append(logs.trial(1) | again)
    records += [logs.epoch(1, epoch, **figures(0.9)) | {"trial": "t0001r1"} for epoch in range(1, 10)]
    for record in records:
        if record.get("epoch") == 9:
            record["decision"] = "finish"
    return [*records, logs.launch(max_epochs=to, rungs=rungs)]


def test_explain_names_the_former_last_epoch_of_a_longer_training() -> None:
    log = lengthened(27, [1, 2, 4, 9])
    at_rung = "  rung at epoch 9: place {} of the 2 trials there; the best 1 may continue: waited; "
    expected = {
        "t0001": at_rung.format(1) + "no trial there was as good in every objective",
        "t0002": at_rung.format(2) + "as good in every objective and better in one: t0001",
    }
    for trial, line in expected.items():
        lines = list(explain.explain(log, SPEC, trial))
        assert lines[1:3] == [
            "  a launch raised max_epochs to 27: the former end became a rung",
            line,
        ]
        assert lines[3].startswith("  stopped at epoch 9/27")
    # Who is compared there later is compared with them too.
    log += [logs.trial(3), *(logs.epoch(3, epoch, **figures(0.7)) for epoch in range(1, 10))]
    log[-1] |= {"rung": 9, "rung_position": 2, "rung_size": 3, "rung_quota": 1, "decision": "stop"}
    assert (
        "as good in every objective and better in one: t0001" in list(explain.explain(log, SPEC, "t0003"))[1]
    )
    lines = list(explain.explain(lengthened(27, []), SPEC, "t0001"))
    assert lines[1] == "  a launch raised max_epochs to 27: training continued from the former end at epoch 9"
    # The same length changes nothing, and a replicate has a length of its own.
    assert len(list(explain.explain(lengthened(9, [1]), SPEC, "t0001"))) == 2
    assert len(list(explain.explain(lengthened(27, [9]), SPEC, "t0001r1"))) == 2


def test_explain_names_an_interrupted_trial_and_its_number_of_images() -> None:
    log = [logs.launch(), logs.trial(1), logs.epoch(1, 1, **figures(0.5) | {"images": 90})]
    last = list(explain.explain(log, SPEC, "t0001", "interrupted"))[-1]
    assert last.startswith("  interrupted at epoch 1/9: natural_accuracy 0.500")
    assert last.endswith(" (of 90 of 360 validation images)")


def test_explain_skips_a_record_without_quota(log: list[dict[str, Any]]) -> None:
    bare = [{k: v for k, v in record.items() if k != "rung_quota"} for record in log]
    assert [line.split()[0] for line in explain.explain(bare, SPEC, "t0002")] == ["t0002:", "running"]


def test_explain_of_an_unknown_trial_is_an_error(log: list[dict[str, Any]]) -> None:
    with pytest.raises(UnknownTrialError, match="--explain is 'x'; the run has t0001 to t0004"):
        list(explain.explain(log, SPEC, "x"))
    with pytest.raises(UnknownTrialError, match="the run has none yet"):
        list(explain.explain([], SPEC, "x"))


def test_savings_count_the_untrained_epochs_of_stopped_trials(log: list[dict[str, Any]]) -> None:
    search = Search(of_spec(SPEC), log, lambda record: None)
    # Run: 1 + 3 + 1 + 0; unstopped: t0003 would have had 9.
    assert summary.unstopped_epochs(search.ledger, 9) == 1 + 3 + 9 + 0
    assert (
        summary.saving(search.ledger, 9)
    ) == "5 epochs run; without early stopping these trials would have taken 13: 62 % saved"
    assert summary.stops(search.ledger) == "stopped: 1 at epoch 1 (t0003); --explain ID says why"
    assert summary.stops(Search(of_spec(SPEC), [], [].append).ledger) is None
    for number in range(5, 12):
        log.append(logs.trial(number))
        log.append(logs.epoch(number, 1, **figures(0.1)) | {"decision": "stop"})
    many = Search(of_spec(SPEC), log, lambda record: None).ledger
    names = "t0003, t0005, t0006, t0007, t0008, t0009, ..."
    assert summary.stops(many) == f"stopped: 8 at epoch 1 ({names}); --explain ID says why"
    assert summary.saving(Search(of_spec(SPEC), [], log.append).ledger, 9).startswith("0 epochs run, none")
