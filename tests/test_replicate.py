"""Trials that repeat settings with other seeds: the search never notices, and none is added twice."""

import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis
from rtune import build, explain, keeping, schema, summary, trial
from rtune.cli import main
from rtune.ledger import Ledger, fold
from rtune.runfolder import RunFolder
from rtune.search.dashboard import Dashboard
from rtune.search.plan import of_spec
from rtune.search.replicates import Asked
from rtune.search.state import Search
from tests.conftest import Rtune, wait_for
from tests.searches import TINY, check_kept, kill, logged, start
from tests.test_dashboard import states
from tests.test_resume import launched, picture_of
from tests.test_runfolder import RECORDS, make
from tests.test_state import make_plan, make_spec, metrics, picture

Records = list[dict[str, Any]]


def is_own(record: dict[str, Any]) -> bool:
    return "trial" in record and "r" not in record["trial"]


def opened(log: Records, sampler: str = "random", only: bool = False, trials: int = 12) -> Search:
    """A search over a log that goes on being written, as through a file."""

    def append(record: dict[str, Any]) -> None:
        log.append(json.loads(json.dumps(record)) | {"time": 0.0})

    return Search(make_plan(sampler, trials), log, append, replicates_only=only)


def train(search: Search, name: str, fate: int = 9) -> bool:
    """An epoch of a trial, or its end; True if it goes on."""
    epoch = search.ledger.trials[name].epoch + 1
    if fate < 2:
        search.end(name, ("diverged", "failed")[fate], "why")
        return False
    return search.report(name, epoch, metrics(name.split("r")[0], epoch))


Draw = Callable[[int, int], int]


def plain(low: int, high: int) -> int:
    """Nothing by chance: what is drawn is the highest."""
    return high


def drive(search: Search, steps: int = 1000, draw: Draw = plain, breaks: bool = False) -> None:
    """Three workers for the search's own trials, as many as it takes for replicates.

    What happens to the own trials follows from what has happened to them alone; with `breaks` some diverge
    or fail.
    """
    own: list[str] = []
    others: list[str] = []
    for step in range(steps):
        while len(own) < 3 and (found := search.next_trial()) is not None:
            (own if found.of is None else others).append(found.id)
        if others and (not own or draw(0, 1)):
            name = others[draw(0, len(others) - 1)]
            if not train(search, name, draw(0, 9)):
                others.remove(name)
        if not own and not others:
            return
        if own:
            name = own[step % len(own)]
            fate = (search.ledger.trials[name].epoch * 7 + int(name[1:]) * 5) % 23
            if not train(search, name, fate if breaks else 9):
                own.remove(name)


def lived(sampler: str, cuts: list[int], asks: list[tuple[int, int, int]], draw: Draw) -> Records:
    """A search that is cut after so many steps, and goes on after its replicates have had some, or none."""
    log: Records = []
    for i, steps in enumerate([*cuts, 1000]):
        # A step trains an own trial if any is under way, so cuts are where they are without replicates.
        drive(opened(log, sampler), steps, draw, breaks=True)
        if i < min(len(asks), len(cuts)):
            every, seeds, more = asks[i]
            again = opened(log, sampler, only=True)
            again.replicate(Asked(tuple(list(again.ledger.own)[::every]), seeds))
            drive(again, more, draw)
            rebuilt = opened(log, sampler, only=True)
            assert picture(rebuilt) == picture(again)
            assert {t.id for t in iter(rebuilt.next_trial, None)} == set(again._running)
    return log


# Each so manieth trial, seeds, and steps until it is cut.
ASKS = st.tuples(st.integers(1, 4), st.integers(2, 4), st.integers(0, 30))


@settings(max_examples=15, deadline=None)
@given(
    data=st.data(),
    sampler=st.sampled_from(["random", "tpe", "nsga2"]),
    cuts=st.lists(st.integers(0, 25), min_size=1, max_size=3),
    asks=st.lists(ASKS, min_size=1, max_size=3),
)
def test_the_search_suggests_and_decides_as_without_replicates(
    data: Any, sampler: str, cuts: list[int], asks: list[tuple[int, int, int]]
) -> None:
    log = lived(sampler, cuts, asks, lambda low, high: data.draw(st.integers(low, high)))
    assert [r for r in log if is_own(r)] == lived(sampler, cuts, [], plain)
    begun = [r for r in log if r["kind"] == "trial"]
    assert max(Counter(r["trial"] for r in begun).values()) == 1
    assert max(Counter(r["seed"] for r in begun).values()) == 1
    assert all(r["seed"] < 2**48 for r in begun)  # which is what a training takes
    # None that the search would give later, if it went on.
    assert min((r["seed"] for r in begun if not is_own(r)), default=2**47) >= 2**47 > (2**31 << 16) - 1
    assert opened(log, sampler).is_done()


def ended(log: Records) -> dict[str, int]:
    """The epochs of trials that have a network."""
    trials = fold(log).trials.values()
    return {t.id: t.epoch for t in trials if t.epoch and t.status in ("finished", "stopped")}


def searched(trials: int = 12) -> Records:
    log: Records = []
    drive(opened(log, trials=trials))
    return log


class Killed(Exception):
    pass


def test_cut_after_any_record_the_same_command_ends_with_the_same_log() -> None:
    asked = Asked(("t0001", "t0003", "t0004"), 3)

    def repeated(cut: bool) -> Records:
        log = searched()
        before = len(log)

        def append(record: dict[str, Any]) -> None:
            log.append(json.loads(json.dumps(record)) | {"time": 0.0})
            if cut:
                raise Killed

        while True:
            search = Search(make_plan("random"), log, append, replicates_only=True)
            with contextlib.suppress(Killed):
                search.replicate(asked)
                if search.remaining() == 0:
                    return log[before:]
                drive(search)

    assert repeated(cut=True) == repeated(cut=False)


def test_each_setting_gets_its_seeds_and_each_replicate_its_originals_epochs() -> None:
    log = searched()
    originals = ended(log)
    assert len(set(originals.values())) > 1  # some were stopped
    search = opened(log, only=True)
    search.replicate(Asked(tuple(originals), 4))
    assert search.remaining() == 3 * len(originals)
    # Each has its second seed before any has its third.
    assert [t.id[-2:] for t in search._unfinished] == [f"r{n}" for n in (1, 2, 3) for _ in originals]
    drive(search)
    for name, epochs in originals.items():
        again = [t for t in search.ledger.trials.values() if t.of == name]
        assert {(t.status, t.epoch, t.sampler) for t in again} == {("finished", epochs, "replicate")}
        assert all(t.values == search.ledger.trials[name].values for t in again)
    search.replicate(Asked(tuple(originals), 4))
    assert search.remaining() == 0


def outcomes(fates: dict[str, int], seeds: int = 3) -> list[str]:
    """t0001's replicates, after each has met its fate, and what the same command begins then."""
    log = searched(1)
    search = opened(log, only=True)
    search.replicate(Asked(("t0001",), seeds))
    for found in iter(search.next_trial, None):
        while train(search, found.id, fates.get(found.id, 9)):
            pass
    search.replicate(Asked(("t0001",), seeds))
    return [t.id for t in iter(search.next_trial, None)]


def test_that_it_diverges_is_an_outcome_that_it_fails_is_none() -> None:
    assert outcomes({}) == []
    assert outcomes({"t0001r1": 0}) == []
    assert outcomes({"t0001r1": 1}) == ["t0001r3"]
    assert outcomes({"t0001r1": 1, "t0001r2": 1}) == ["t0001r3", "t0001r4"]


def test_trials_that_the_search_gave_the_same_values_count_if_they_are_as_long() -> None:
    log = searched(3)
    values = log[0]["values"]
    for record in log:
        if record["kind"] == "trial":
            record["values"] = values
    epochs = ended(log)
    search = opened(log, only=True, trials=3)
    search.replicate(Asked(("t0001",), 3))
    alike = sum(length == epochs["t0001"] for length in epochs.values())
    assert search.remaining() == 3 - alike


def test_replicates_follow_an_original_that_has_gone_on() -> None:
    log: Records = []
    first = launched(log, [9], 6)
    drive(first)
    only = Search(first.plan, log, log.append, replicates_only=True)
    only.replicate(Asked(tuple(ended(log)), 2))
    drive(only)
    before = ended(log)
    longer = launched(log, [9, 27], 6)
    drive(longer)
    after = ended(log)
    gone_on = [name for name in before if after[name] > before[name]]
    assert gone_on
    assert not any("r" in name for name in gone_on)  # a longer training is the search's alone
    search = Search(longer.plan, log, log.append, replicates_only=True)
    search.replicate(Asked(tuple(gone_on), 2))
    assert [t.id for t in search._unfinished] == [f"{name}r1" for name in gone_on]  # none new
    drive(search)
    for name in gone_on:
        assert search.ledger.trials[f"{name}r1"].epoch == after[name]
        assert [r["epoch"] for r in search.ledger.trials[f"{name}r1"].epochs] == list(
            range(1, after[name] + 1)
        )
    search.replicate(Asked(tuple(gone_on), 2))
    assert search.remaining() == 0


# --- beside the search --------------------------------------------------------------------------


def with_replicates() -> tuple[Records, Ledger]:
    """Three trials and one replicate each: of t0001 finished, of t0002 begun, of t0003 waiting."""
    log = searched(3)
    search = opened(log, only=True)
    search.replicate(Asked(tuple(ended(log)), 2))
    assert list(search.ledger.trials)[3:] == ["t0001r1", "t0002r1", "t0003r1"]
    while train(search, "t0001r1"):
        pass
    train(search, "t0002r1")
    return log, fold(log)


def test_they_are_counted_apart_and_told_whose_they_are(tmp_path: Path) -> None:
    log, ledger = with_replicates()
    alone = fold([r for r in log if is_own(r)])
    assert summary.counts(ledger, 5) == summary.counts(alone, 5)
    assert summary.replicates(ledger) == {"finished": 1, "running": 1, "waiting": 1}
    assert summary.unstopped_epochs(ledger, 9) == summary.unstopped_epochs(alone, 9)
    more = sum(t.epoch for t in ledger.trials.values()) - sum(t.epoch for t in ledger.own.values())
    assert summary.saving(ledger, 9) == f"{summary.saving(alone, 9)}; {more} more by replicates"
    own, both = (summary.seconds_left(one, 3, 9, 1) for one in (alone, ledger))
    of_replicates = summary.seconds_left(ledger, 3, 9, 1, replicates_only=True)
    assert own is not None
    assert both is not None
    assert of_replicates is not None
    assert both == pytest.approx(own + of_replicates)
    to_come = sum(t.length - t.epoch for t in ledger.trials.values() if t.length and t.status == "running")
    assert of_replicates == pytest.approx(to_come * 2)  # an epoch and its evaluation take a second each
    told = list(explain.explain(log, make_spec("random"), "t0002r1"))
    assert "(repeats t0002, seed " in told[0]
    assert told[1].startswith(f"  running at epoch 1/{ledger.trials['t0002r1'].length}: ")
    board = Dashboard(tmp_path, make_plan("random"), log)
    board.close()
    assert len(states(tmp_path)) == 3


def test_a_front_members_replicates_keep_their_networks(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run", make_spec("random", 2), {})
    log: Records = []
    search = Search(of_spec(folder.spec), [], log.append)
    for level in (0.9, 0.5):
        name = search.next_trial().id
        epoch = 1
        while search.report(name, epoch, dict.fromkeys(schema.METRICS, level)):
            epoch += 1
    again = Search(search.plan, log, log.append, replicates_only=True)
    again.replicate(Asked(("t0001", "t0002"), 2))
    for found in iter(again.next_trial, None):
        for epoch in range(1, found.length + 1):
            again.report(found.id, epoch, dict.fromkeys(schema.METRICS, 0.4))
    with folder.launch() as writer:
        for record in log:
            writer.append(record)
    for one in again.ledger.trials.values():
        path = folder.trial_folder(one.id).local / f"epoch-{one.epoch:04d}.safetensors"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    keeping.prune(folder)
    left = sorted(path.parent.name for path in folder.place.local.rglob("*.safetensors"))
    assert left == ["t0001", "t0001r1"]


REPLICATE = RECORDS[0] | {
    "trial": "t0001r1", "sampler": "replicate", "seed": 9, "facts": {"of": "t0001", "epochs": 3},
}  # fmt: skip
LENGTHEN = {"kind": "lengthen", "trial": "t0001r1", "epochs": 4, "time": 1.0}


@pytest.mark.parametrize(
    "foreign",
    [
        [REPLICATE | {"facts": {}}],
        [REPLICATE | {"facts": {"of": "t0001", "epochs": 0}}],
        [REPLICATE | {"facts": {"of": "t0001", "epochs": True}}],
        [REPLICATE | {"facts": {"of": "t0002", "epochs": 3}}],
        [REPLICATE | {"trial": "t0007r1", "facts": {"of": "t0007", "epochs": 3}}],  # there is no such trial
        [REPLICATE | {"trial": "t0007"}],
        [REPLICATE | {"sampler": "tpe"}],
        [REPLICATE | {"trial": "t0001r1/../.."}],
        [LENGTHEN],
        [LENGTHEN | {"trial": "t0001"}],
        [LENGTHEN | {"epochs": 0}],
    ],
)
def test_what_no_search_would_write_of_them_is_left_out(tmp_path: Path, foreign: Records) -> None:
    folder = make(tmp_path)
    with folder.launch() as writer:
        for record in [*RECORDS, *foreign]:
            writer.append(record)
    log = folder.read()
    assert log.records == RECORDS
    assert len(log.notes) == len(foreign)


def test_what_a_search_writes_of_them_is_read_back(tmp_path: Path) -> None:
    folder = make(tmp_path)
    with folder.launch() as writer:
        for record in [*RECORDS, REPLICATE, LENGTHEN]:
            writer.append(record)
    assert folder.read().notes == []
    found = fold(folder.read().records).trials["t0001r1"]
    assert (found.of, found.length, found.status) == ("t0001", 4, "running")


# --- the command --------------------------------------------------------------------------------


def replicate(run: Path, *args: str) -> Result:
    return CliRunner().invoke(main, ["replicate", str(run), *args])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seeds", "1"), "--seeds is 1; it must be 2 to 1000"),
        (("--seeds", "-3"), "--seeds is -3; it must be 2 to 1000"),
        (("--seeds", str(10**20)), "it must be 2 to 1000"),
        (("--seeds", "few"), "Invalid value for '--seeds'"),
        (("--trials", "t0009"), "--trials names 't0009', which has no network in "),
        (("--trials", "t0001,"), None),
        (("--trials", ""), "--trials names '', which has no network in "),
        (("--trials", "t0001r1"), "--trials names 't0001r1', which has no network in "),
        (("--concurrency", "0"), "search.concurrency is 0"),
        (("--max-epochs", "9"), "No such option"),
        (("--address", "127.0.0.1:9"), "no Ray cluster can be used at 127.0.0.1:9"),
    ],
)
def test_what_cannot_be_repeated_is_refused(run: Path, options: tuple[str, ...], message: str | None) -> None:
    if message is None:
        options, message = (*options, "--gpus-per-trial", "1"), "a trial needs 1 CPU and 1 GPU"
    refused(run, options, message)


def refused(run: Path, options: tuple[str, ...], message: str) -> None:
    before = picture_of(run)
    done = replicate(run, *options)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert picture_of(run) == before


def rewrite(run: Path, change: Any) -> None:
    segment = run / "results" / "0001.jsonl"
    records = [json.loads(line) for line in segment.read_text().splitlines()]
    segment.write_text("".join(json.dumps(record) + "\n" for record in change(records)))


def broken(name: str) -> dict[str, Any]:
    return {"kind": "end", "trial": name, "status": "diverged", "epoch": 3, "error": "nan", "time": 1.0}


def test_trials_without_a_network_cannot_be_repeated(run: Path) -> None:
    rewrite(run, lambda records: [*records, broken("t0002")])
    refused(run, ("--trials", "t0002"), "--trials names 't0002', which has no network in ")
    rewrite(run, lambda records: [*records, broken("t0001")])
    refused(run, (), "has no network yet: every trial has broken, or has yet to finish an epoch")
    rewrite(run, lambda records: [])
    refused(run, (), "has no network yet")


def test_a_changed_search_or_a_live_launch_is_refused(run: Path) -> None:
    with RunFolder(run).launch():
        refused(run, (), "is in use: a launch is running on it")
    tree = yaml.safe_load((run / "search.yaml").read_text())
    tree["model"]["width"] = 3
    (run / "search.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    refused(run, (), "search.yaml has been changed since the search began: model.width is 3 and was 2")


@pytest.mark.cluster
def test_interrupted_killed_resumed_and_repeated_it_adds_what_was_asked_for(
    tmp_path: Path, rtune: Rtune
) -> None:
    sizes = ["--trials", "3", "--max-epochs", "4", "--concurrency", "1"]
    early = ["--set", "search.early_stopping={grace: 1, eta: 2}"]
    assert rtune("search", "digits", "--name", "run", *sizes, *early, *TINY).returncode == 0
    run, command = tmp_path / "runs" / "run", ["replicate", "run", "--trials", "all", "--seeds", "3"]
    searched = analysis.load(run)
    process = start(tmp_path, *command)
    wait_for(logged(run, len(searched) + 2))
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "6 replicates on digits, 1 at once" in output
    assert "Go on with: rtune replicate runs/run --trials all --seeds 3" in output
    interrupted = analysis.load(run)
    process = start(tmp_path, *command)
    wait_for(logged(run, len(interrupted) + 2))
    kill(process)
    killed = analysis.load(run)
    assert "6 replicates: " in rtune("status", "run").stdout
    done = rtune("resume", "run")
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("front: ") for line in done.stdout.splitlines())
    assert done.stdout.splitlines()[-1].startswith("report: ")
    again = rtune(*command)
    assert again.returncode == 0
    assert "each of the 3 settings has been trained with 3 seeds by now" in again.stdout
    rows = analysis.load(run)
    for before in (searched, interrupted, killed):
        check_kept(before, rows)
    check_replicates(RunFolder(run), seeds=3)
    more = rtune("resume", "run", "--trials", "4")
    assert more.returncode == 0, more.stderr
    ledger = fold(RunFolder(run).read().records)
    assert list(ledger.own) == ["t0001", "t0002", "t0003", "t0004"]
    assert len(ledger.trials) == 3 * 3 + 1


def check_replicates(folder: RunFolder, seeds: int) -> None:
    """As many of each trial as there must be, as long, and each the same experiment with its own seed."""
    ledger = fold(folder.read().records)
    assert len({t.seed for t in ledger.trials.values()}) == len(ledger.own) * seeds
    assert {t.status for t in ledger.own.values()} == {"finished", "stopped"}
    for original in ledger.own.values():
        again = [t for t in ledger.trials.values() if t.of == original.id]
        assert [(t.epoch, t.status) for t in again] == [(original.epoch, "finished")] * (seeds - 1)
    found = next(t for t in ledger.trials.values() if t.of and ledger.own[t.of].status == "stopped")
    splits = build.splits(folder.spec.file.data, folder.spec.search.seed, torch.device("cpu"), download=False)
    task = {
        "trial": found.id,
        "seed": found.seed,
        "config": folder.spec.identity(found.values),
        "folder": str(folder.place.local.parent / "elsewhere"),
        "logged": 0,
        "max_epochs": found.epoch,
        "threads": 1,
        "device": "cpu",
        "versions": None,
    }
    alone = [figures["robust_accuracy"] for _, figures in trial.epochs(task, *splits)]
    assert alone == [record["robust_accuracy"] for record in found.epochs]
