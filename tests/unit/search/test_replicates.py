"""Trials that repeat settings with other seeds: the search never notices, and none is added twice."""

import contextlib
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from rtune.cluster.journal import OptunaJournal
from rtune.cluster.progress import Progress
from rtune.run import retention, schema, summary
from rtune.run.claim import create
from rtune.run.ledger import Ledger, fold
from rtune.search import explain
from rtune.search.plan import of_spec
from rtune.search.replicates import ReplicateRequest
from rtune.search.state import Search
from tests.support.launches import launched
from tests.support.plans import make_plan, make_spec, metrics, picture
from tests.support.studies import states

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
            again.replicate(ReplicateRequest(tuple(list(again.ledger.own)[::every]), seeds))
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
def test_search_with_replicates_suggests_and_decides_as_without(
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


def test_replicate_interrupted_at_any_record_ends_with_the_same_log() -> None:
    asked = ReplicateRequest(("t0001", "t0003", "t0004"), 3)

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


def test_replicates_have_new_seeds_and_the_epochs_of_their_trial() -> None:
    log = searched()
    originals = ended(log)
    assert len(set(originals.values())) > 1  # some were stopped
    search = opened(log, only=True)
    search.replicate(ReplicateRequest(tuple(originals), 4))
    assert search.remaining() == 3 * len(originals)
    # Each has its second seed before any has its third.
    assert [t.id[-2:] for t in search._unfinished] == [f"r{n}" for n in (1, 2, 3) for _ in originals]
    drive(search)
    for name, epochs in originals.items():
        again = [t for t in search.ledger.trials.values() if t.of == name]
        assert {(t.status, t.epoch, t.sampler) for t in again} == {("finished", epochs, "replicate")}
        assert all(t.values == search.ledger.trials[name].values for t in again)
    search.replicate(ReplicateRequest(tuple(originals), 4))
    assert search.remaining() == 0


def outcomes(fates: dict[str, int], seeds: int = 3) -> list[str]:
    """t0001's replicates, after each has met its fate, and what the same command begins then."""
    log = searched(1)
    search = opened(log, only=True)
    search.replicate(ReplicateRequest(("t0001",), seeds))
    for found in iter(search.next_trial, None):
        while train(search, found.id, fates.get(found.id, 9)):
            pass
    search.replicate(ReplicateRequest(("t0001",), seeds))
    return [t.id for t in iter(search.next_trial, None)]


def test_diverged_replicate_counts_and_failed_one_is_repeated() -> None:
    assert outcomes({}) == []
    assert outcomes({"t0001r1": 0}) == []
    assert outcomes({"t0001r1": 1}) == ["t0001r3"]
    assert outcomes({"t0001r1": 1, "t0001r2": 1}) == ["t0001r3", "t0001r4"]


def test_trials_with_equal_values_and_epochs_count_as_seeds() -> None:
    log = searched(3)
    values = log[0]["values"]
    for record in log:
        if record["kind"] == "trial":
            record["values"] = values
    epochs = ended(log)
    search = opened(log, only=True, trials=3)
    search.replicate(ReplicateRequest(("t0001",), 3))
    alike = sum(length == epochs["t0001"] for length in epochs.values())
    assert search.remaining() == 3 - alike


def test_replicates_are_lengthened_when_their_trial_has_continued() -> None:
    log: Records = []
    first = launched(log, [9], 6)
    drive(first)
    only = Search(first.plan, log, log.append, replicates_only=True)
    only.replicate(ReplicateRequest(tuple(ended(log)), 2))
    drive(only)
    before = ended(log)
    longer = launched(log, [9, 27], 6)
    drive(longer)
    after = ended(log)
    gone_on = [name for name in before if after[name] > before[name]]
    assert gone_on
    assert not any("r" in name for name in gone_on)  # a longer training is the search's alone
    search = Search(longer.plan, log, log.append, replicates_only=True)
    search.replicate(ReplicateRequest(tuple(gone_on), 2))
    assert [t.id for t in search._unfinished] == [f"{name}r1" for name in gone_on]  # none new
    drive(search)
    for name in gone_on:
        assert search.ledger.trials[f"{name}r1"].epoch == after[name]
        assert [r["epoch"] for r in search.ledger.trials[f"{name}r1"].epochs] == list(
            range(1, after[name] + 1)
        )
    search.replicate(ReplicateRequest(tuple(gone_on), 2))
    assert search.remaining() == 0


def test_replicates_skip_seeds_that_are_in_use() -> None:
    def seed(log: Records) -> int:
        search = opened(log.copy(), only=True)
        search.replicate(ReplicateRequest(("t0001",), 2))
        return search.ledger.trials["t0001r1"].seed

    log = searched(3)
    drawn = seed(log)
    log[1]["seed"] = drawn
    assert log[1]["kind"] == "trial"
    assert seed(log) == drawn + 1


# --- beside the search --------------------------------------------------------------------------


def with_replicates() -> tuple[Records, Ledger]:
    """Three trials and one replicate each: of t0001 finished, of t0002 begun, of t0003 waiting."""
    log = searched(3)
    search = opened(log, only=True)
    search.replicate(ReplicateRequest(tuple(ended(log)), 2))
    assert list(search.ledger.trials)[3:] == ["t0001r1", "t0002r1", "t0003r1"]
    while train(search, "t0001r1"):
        pass
    train(search, "t0002r1")
    return log, fold(log)


def test_replicates_are_counted_separately_and_name_their_trial(tmp_path: Path) -> None:
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
    board = OptunaJournal(tmp_path, make_plan("random"), log)
    board.close()
    assert len(states(tmp_path)) == 3


def test_live_view_shows_running_replicates_and_counts_all() -> None:
    log, _ = with_replicates()
    search = opened(log, only=True)
    view = Progress(Console(file=io.StringIO(), width=200, force_terminal=True))
    with view.showing(search, 1):
        assert "; 3 replicates: 1 finished, 1 running, 1 waiting; " in view._header()
        assert view._line(search.ledger.trials["t0001r1"]).split()[1:4] == ["1/3", "t0001r1", "finished"]
        begun = search.next_trial()
        assert begun is not None
        drawn = view._draw()
    plain = Console(file=io.StringIO(), width=200)
    with plain.capture() as capture:
        plain.print(drawn)
    rows = [line.split()[:3] for line in capture.get().splitlines() if line.startswith("t0")]
    assert rows == [["t0002r1", f"1/{begun.length}", "running"]]


def test_checkpoints_of_replicates_of_front_members_are_kept(tmp_path: Path) -> None:
    folder = create(tmp_path, "run", make_spec("random", 2), {})
    log: Records = []
    search = Search(of_spec(folder.spec), [], log.append)
    for level in (0.9, 0.5):
        name = search.next_trial().id
        epoch = 1
        while search.report(name, epoch, dict.fromkeys(schema.epoch(), level) | {"images": 100}):
            epoch += 1
    again = Search(search.plan, log, log.append, replicates_only=True)
    again.replicate(ReplicateRequest(("t0001", "t0002"), 2))
    for found in iter(again.next_trial, None):
        for epoch in range(1, found.length + 1):
            again.report(found.id, epoch, dict.fromkeys(schema.epoch(), 0.4) | {"images": 100})
    with folder.launch() as writer:
        for record in log:
            writer.append(record)
    for one in again.ledger.trials.values():
        path = folder.trial_folder(one.id).local / f"epoch-{one.epoch:04d}.safetensors"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    retention.prune(folder)
    left = sorted(path.parent.name for path in folder.place.local.rglob("*.safetensors"))
    assert left == ["t0001", "t0001r1"]
