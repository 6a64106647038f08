"""Of searches that start at the same time each has a name of its own, and who gives up leaves nothing."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from rtune.config import spec
from rtune.errors import RunError
from rtune.run.claim import claim, claim_free, create
from rtune.run.folder import NameTaken, RunFolder
from rtune.storage.places import Place, place
from tests.support.run_folders.untrained import TREE

CONTEXT = multiprocessing.get_context("spawn")
SEARCH = spec.from_tree(TREE, {}, "test")


@pytest.fixture(params=["local", "remote"])
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A folder for runs of either kind."""
    if request.param == "local":
        return place(tmp_path / "a" / "runs")
    found: Place = request.getfixturevalue("remote")
    return found / "runs"


def test_a_claimed_name_is_taken_and_free_names_have_numbers(runs: Place) -> None:
    with claim(runs, "run") as first:
        with (
            pytest.raises(
                NameTaken,
                match=f"^run name 'run' is taken: process {os.getpid()} on .* is starting such a search",
            ),
            claim(runs, "run"),
        ):
            pass
        with claim_free(runs, "run") as second, claim_free(runs, "run") as third:
            assert third.make(SEARCH, {}).name == "run-3"
            assert second.make(SEARCH, {}).name == "run-2"
        assert first.make(SEARCH, {}).name == "run"
    with (
        pytest.raises(NameTaken, match=r"is taken: .*run.* exists; choose another --name, or resume it"),
        claim(runs, "run"),
    ):
        pass
    with claim_free(runs, "run") as fourth:
        assert fourth.make(SEARCH, {}).name == "run-4"
    for name in ("run", "run-2", "run-3", "run-4"):
        with RunFolder(runs / name).launch():
            pass


def test_a_claim_without_a_run_leaves_nothing(runs: Place, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claim(runs, "run"):
        raise ZeroDivisionError
    assert runs.files() == {}
    if runs.local is not None:
        assert list(tmp_path.iterdir()) == []
    create(runs, "run", SEARCH, {})  # and the name is free


def test_files_of_others_are_kept_when_a_claim_ends(tmp_path: Path) -> None:
    with claim(tmp_path / "runs", "run"):
        (tmp_path / "runs" / "other").mkdir()
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["other"]


def _claim_and_wait(runs: str, claimed: Any) -> None:
    with claim(runs, "run"):
        claimed.set()
        CONTEXT.Event().wait(60)


def test_the_claim_of_a_killed_process_is_void(runs: Place) -> None:
    claimed = CONTEXT.Event()
    other = CONTEXT.Process(target=_claim_and_wait, args=(str(runs), claimed))
    other.start()
    assert claimed.wait(60)
    with pytest.raises(NameTaken, match=f"process {other.pid} on"), claim(runs, "run"):
        pass
    other.kill()
    other.join()
    folder = create(runs, "run", SEARCH, {})
    assert folder.read().records == []
    assert set(folder.place.files()) <= {"search.yaml", "lock"}


def _race(runs: str, rounds: int, start: Any, results: Any) -> None:
    for number in range(rounds):
        start.wait(60)
        with claim_free(runs, f"run{number}") as claimed:
            if number % 2:
                results.put(claimed.make(SEARCH, {}).name)
            else:
                start.wait(60)  # all hold their claims at the same time, and none makes its run
                results.put(None)


def test_processes_that_start_together_have_different_names(tmp_path: Path) -> None:
    rounds, runners = 6, 2
    start, results = CONTEXT.Barrier(runners), CONTEXT.Queue()
    others = [
        CONTEXT.Process(target=_race, args=(str(tmp_path / "runs"), rounds, start, results))
        for _ in range(runners)
    ]
    for other in others:
        other.start()
    found = [results.get(timeout=60) for _ in range(rounds * runners)]
    for other in others:
        other.join(60)
        assert other.exitcode == 0
    made = sorted(name for name in found if name is not None)
    assert made == sorted({*made})
    assert made == sorted(p.name for p in (tmp_path / "runs").iterdir())


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(RunError, match=f"^run folder {tmp_path}/file/run cannot be made: "),
        claim(tmp_path / "file", "run"),
    ):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
