"""What a resume rebuilds, changes and refuses. No cluster: that is in cluster/test_search.py."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis
from rtune.cli.app import main
from rtune.cluster.failures import FailurePolicy, readable
from rtune.config import rungs
from rtune.run import retention
from rtune.run.claim import create
from rtune.run.ledger import fold
from rtune.search import explain
from rtune.search.plan import of_spec
from rtune.search.state import Search
from rtune.storage import lock
from rtune.storage.places import LocalPlace
from rtune.worker import checkpoint
from tests.support.launches import launched, picture_of, resume
from tests.support.plans import drive, make_spec, metrics, picture
from tests.support.run_folders import small_run

# --- a longer training --------------------------------------------------------------------------


def test_former_last_epoch_becomes_a_rung() -> None:
    first = rungs.levels(1, 3, 9)
    assert rungs.lengthened(first, 3, [9]) == first == [1, 3]
    assert rungs.lengthened(first, 3, [9, 81]) == [1, 3, 9, 27]
    assert rungs.lengthened(first, 3, [9, 12]) == [1, 3, 9]
    assert rungs.lengthened(first, 3, [9, 20, 200]) == [1, 3, 9, 20, 60]
    assert rungs.lengthened([], 3, [9, 81]) == []


def test_best_trials_of_a_finished_search_continue_to_the_new_last_epoch() -> None:
    log: list[dict[str, Any]] = []
    first = launched(log, [9])
    drive(first, None)
    assert first.is_done()
    before = len(log)
    finished = [t.id for t in first.ledger.trials.values() if t.status == "finished"]
    second = launched(log, [9, 27])
    assert {second.ledger.trials[name].status for name in finished} == {"stopped"}
    assert not second.is_done()
    drive(second, None)
    assert second.is_done()
    longer = [t for t in second.ledger.trials.values() if t.epoch == 27]
    assert longer
    assert all(t.status == "finished" for t in longer)
    assert len(longer) < len(finished)
    # Those that went on were not beaten at the old end by any that did not.
    objectives = second.plan.objectives
    at_end = {name: second.ledger.trials[name].curve(objectives)[8] for name in finished}
    for kept in (t.id for t in longer if t.id in at_end):
        for left in (name for name in finished if second.ledger.trials[name].epoch == 9):
            better = (at_end[left] >= at_end[kept]).all() and (at_end[left] > at_end[kept]).any()
            assert not better
    # No epoch ran again, none was skipped.
    assert not {(r["trial"], r["epoch"]) for r in log[before:] if r["kind"] == "epoch"} & {
        (r["trial"], r["epoch"]) for r in log[:before] if r["kind"] == "epoch"
    }
    for trial in second.ledger.trials.values():
        assert [r["epoch"] for r in trial.epochs] == list(range(1, trial.epoch + 1))


def test_without_early_stopping_all_trials_continue_to_the_new_last_epoch() -> None:
    log: list[dict[str, Any]] = []
    drive(launched(log, [9], 5, early_stopping=None), None)
    second = launched(log, [9, 12], 5, early_stopping=None)
    assert second.remaining() == 5
    drive(second, None)
    assert {(t.status, t.epoch) for t in second.ledger.trials.values()} == {("finished", 12)}


@settings(max_examples=15, deadline=None)
@given(choices=st.data(), cut=st.integers(0, 120), further=st.integers(0, 60))
def test_lengthened_search_rebuilt_from_the_log_equals_the_original(
    choices: Any, cut: int, further: int
) -> None:
    log: list[dict[str, Any]] = []
    drive(launched(log, [9]), choices, steps=cut)
    lived = launched(log, [9, 20])
    drive(lived, choices, steps=further)
    rebuilt = Search(lived.plan, log, lambda record: None)
    assert picture(rebuilt) == picture(lived)


def test_trial_of_a_failed_worker_continues_before_all_others() -> None:
    log: list[dict[str, Any]] = []
    search = launched(log, [9])
    names = [search.next_trial().id for _ in range(3)]
    search.report(names[1], 1, metrics(names[1], 1))
    search.retry(names[1], "its worker died")
    assert search.under_way() == [names[0], names[2]]
    again = search.next_trial()
    assert (again.id, again.epoch, len(again.retries)) == (names[1], 1, 1)
    assert again.retries[0]["epoch"] == 2
    assert search.next_trial().id == "t0004"
    told = list(explain.explain(log, make_spec("random"), names[1]))
    assert "  epoch 2: the worker failed; the trial was retried: its worker died" in told


# --- what may change ----------------------------------------------------------------------------


def edit(run: Path, path: str, value: Any) -> None:
    tree = yaml.safe_load((run / "search.yaml").read_text())
    *parents, last = path.split(".")
    node = tree
    for key in parents:
        node = node[int(key) if isinstance(node, list) else key]
    node[last] = value
    (run / "search.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("data.dataset", "cifar10", "data.dataset is 'cifar10' and was 'digits'"),
        ("search.seed", 5, "search.seed is 5 and was 0"),  # the split
        ("search.objectives", ["natural_accuracy", "robust_accuracy"], "search.objectives is ['natural_acc"),
        ("pruning.rgsm.lambda_1", {"log_uniform": [1e-3, 2]}, "rgsm.lambda_1.log_uniform.1 is 2 and was 1"),
        ("pruning.rgsm.lambda_1", 0.1, "pruning.rgsm.lambda_1 is 0.1 and was {'log_uniform'"),
        ("points", [], "points is [] and was [{"),
        ("model.width", 3, "model.width is 3 and was 2"),
        ("training.max_epochs", 3, "training.max_epochs is 3 and was 2"),
        ("search.early_stopping", {"eta": 2}, "search.early_stopping is {"),
    ],
)  # fmt: skip
def test_changed_search_is_refused_with_the_difference(
    run: Path, path: str, value: Any, message: str
) -> None:
    edit(run, path, value)
    before = picture_of(run)
    done = resume(run, "--trials", "9")
    assert done.exit_code == 2, done.output
    assert "search.yaml has been changed since the search began: " in done.stderr
    assert message in done.stderr
    assert "restore it, or start a new search" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert picture_of(run) == before


def test_run_without_its_first_launch_record_is_refused(run: Path) -> None:
    segment = run / "results" / "0001.jsonl"
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[1:]))
    done = resume(run, "--trials", "9")
    assert done.exit_code == 2, done.output
    assert "has lost the record of its first launch" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_limits_may_be_edited(run: Path) -> None:
    for path, value in {
        "description": "mine",
        "data.folder": "/elsewhere",
        "search.time_budget": "2h",
        "search.concurrency": 1,
        "search.report_timeout": "10m",
        "search.max_failures": 7,
    }.items():
        edit(run, path, value)
    done = resume(run)
    assert done.exit_code == 0, done.output
    assert "all 2 trials have ended; --trials adds trials, --max-epochs makes them longer" in done.output


def test_other_data_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtune.worker.build.fingerprint", lambda *_: "another")
    monkeypatch.setattr(
        "rtune.cluster.connection.connect", lambda address: __import__("contextlib").nullcontext()
    )
    done = resume(run, "--trials", "3")
    assert done.exit_code == 2, done.output
    assert "the images or labels of digits in its package are not those that" in done.stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--trials", "1"), "--trials is 1, but "),
        (("--max-epochs", "1"), "--max-epochs is 1, but a full training of "),
        (("--max-epochs", "0"), "--max-epochs is 0, but "),
        (("--trials", str(10**20)), "search.trials is 100000000000000000000; it must be less than"),
        (("--max-epochs", str(10**20)), "training.max_epochs is 100000000000000000000; it must be less"),
        (("--trials", "0"), "search.trials is 0; it must be greater than"),
        (("--concurrency", "0"), "search.concurrency is 0"),
        (("--gpus-per-trial", "-1"), "search.gpus_per_trial is -1"),
        (("--gpus-per-trial", "1", "--trials", "3"), "a trial needs 1 CPU and 1 GPU, but the machine has"),
        (("--address", "127.0.0.1:9", "--trials", "3"), "no Ray cluster can be used at 127.0.0.1:9"),
    ],
)
def test_impossible_limits_are_refused(run: Path, option: tuple[str, ...], message: str) -> None:
    before = picture_of(run)
    done = resume(run, *option)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert picture_of(run) == before


def test_resume_of_a_finished_search_does_not_start_ray(run: Path) -> None:
    before = picture_of(run / "results")
    done = resume(run)
    assert done.exit_code == 0, done.output
    assert "all 2 trials have ended" in done.output
    assert "front: " in done.output
    assert picture_of(run / "results") == before


# --- checkpoints --------------------------------------------------------------------------------


def status(run: Path) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["status", str(run), "--json"])
    return json.loads(done.output)


def test_prune_checkpoints_keeps_the_front_and_reports_the_freed_bytes(run: Path) -> None:
    networks = analysis.networks(analysis.load(run))
    front = set(analysis.front(networks, small_run.TREE["search"]["objectives"])["trial"])
    (run / "trials" / "t0001" / "epoch-0009.safetensors.1234.partial").write_bytes(b"left by a killed writer")
    size = status(run)["checkpoint_bytes"]
    done = CliRunner().invoke(main, ["prune-checkpoints", str(run)])
    assert done.exit_code == 0, done.output
    assert f"left: networks of the front {len(front)}, others of unfinished trials 0" in done.output
    left = {p.parent.name: p.name for p in (run / "trials").rglob("*") if p.is_file()}
    assert left == dict.fromkeys(front, "epoch-0002.safetensors")
    assert status(run)["checkpoint_bytes"] < size
    assert (
        CliRunner()
        .invoke(main, ["prune-checkpoints", str(run)])
        .output.startswith("files deleted: 0, freed: 0 b")
    )
    for name in front:
        checkpoint.read(run / "trials" / name / "epoch-0002.safetensors")


def test_prune_checkpoints_keeps_networks_dominated_only_by_unfinished_trials(tmp_path: Path) -> None:
    """They may yet change, and then the front needs the others' networks."""
    folder = create(tmp_path, "run", make_spec("random", 4), {})
    log: list[dict[str, Any]] = []
    writer = folder.launch()
    search = Search(of_spec(folder.spec), [], lambda r: (writer.append(r), log.append(r)))
    names = [search.next_trial().id for _ in range(4)]
    points = {names[0]: 0.9, names[1]: 0.5, names[2]: 0.7, names[3]: 0.4}
    for name, level in points.items():
        search.report(name, 1, dict.fromkeys(metrics("t0001", 1), level) | {"images": 100})
        for epoch in (0, 1) if name == names[0] else (1,):
            path = folder.trial_folder(name).local / f"epoch-{epoch:04d}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 10)
    ledger = fold(log)
    assert [ledger.trials[name].status for name in names] == ["running", "stopped", "stopped", "stopped"]
    done = retention.prune(folder)
    assert (done.files, done.of_front, done.under_way) == (0, 4, 0)  # t0001 outdoes all, and is not done
    for epoch in range(2, 10):
        search.report(names[0], epoch, dict.fromkeys(metrics("t0001", 1), 0.9) | {"images": 100})
    (folder.trial_folder(names[1]).local / "epoch-0002.safetensors").write_bytes(b"not in the log yet")
    done = retention.prune(folder)
    assert (done.files, done.bytes) == (5, 50)
    writer.__exit__(None, None, None)
    assert retention.prune(folder).files == 1


# --- judging failures ---------------------------------------------------------------------------


def test_retries_are_counted_from_the_last_new_epoch() -> None:
    policy = FailurePolicy(2)
    assert [policy.may_retry("t0001", "boom") for _ in range(3)] == [True, True, False]
    policy.record_progress("t0002")
    assert [policy.may_retry("t0002", "boom") for _ in range(2)] == [True, True]
    policy.record_progress("t0002")
    assert [policy.may_retry("t0002", "boom") for _ in range(3)] == [True, True, False]


def test_lost_machine_does_not_count_as_a_failure_of_its_trials() -> None:
    policy = FailurePolicy(0)
    assert all(policy.may_retry("t0001", "The actor died because its node has died.") for _ in range(9))
    assert not policy.may_retry("t0001", "ValueError: x")


@pytest.mark.parametrize(
    ("errors", "hopeless"),
    [
        (["ValueError: 1", "ValueError: 2", "ValueError: 3"], True),
        (["ValueError: 1", "KeyError: 2", "ValueError: 3"], False),
        (["OSError: a", "OSError: b"], False),
    ],
)
def test_only_failures_for_the_same_reason_end_the_launch(errors: list[str], hopeless: bool) -> None:
    policy = FailurePolicy(0)
    said = [policy.record_final_failure(error) for error in errors]
    assert said[:2] == [None, None]
    assert (said[-1] is not None) == hopeless
    policy.record_progress("t0009")  # later on nothing of the kind ends it
    assert policy.record_final_failure("ValueError: 4") is None


def test_long_error_of_ray_about_a_dead_worker_becomes_one_line() -> None:
    ray = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit"
    assert readable(ray) == "its worker process died: killed, out of memory, or ended by its own code"
    assert readable("ValueError: x") == "ValueError: x"


def test_lock_error_names_the_process_that_holds_it(tmp_path: Path) -> None:
    held = lock.take(LocalPlace(tmp_path))
    with pytest.raises(lock.InUseError, match=r"process \d+ on "):
        lock.take(LocalPlace(tmp_path))
    held.release()
    lock.take(LocalPlace(tmp_path)).release()
