"""A run folder that is moved, deleted or replaced while a search writes it: noticed, and nothing is split."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster.searches import TINY, check_kept, check_whole, logged, start
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.long]

OPTIONS = ["--trials", "3", "--max-epochs", "60", "--concurrency", "2", "--set", "points=[]", *TINY]
OPTIONS += ["--set", "search.early_stopping=null"]


@pytest.mark.parametrize("how", ["moved", "moved with its parent", "replaced by a copy"])
def test_a_moved_run_ends_and_goes_on_where_it_is(tmp_path: Path, how: str, rtune: Any) -> None:
    run, new = tmp_path / "runs" / "run", tmp_path / "elsewhere" / "run"
    process = start(tmp_path, "search", "digits", "--name", "run", *OPTIONS)
    wait_for(logged(run, 4))
    if how == "moved with its parent":
        run.parent.rename(new.parent)
    else:
        new.parent.mkdir()
        run.rename(new)
    if how == "replaced by a copy":
        shutil.copytree(new, run)
    before = sorted(run.rglob("*")) if run.exists() else None
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    last = output.splitlines()[-1]
    assert last.startswith("rtune: the launch broke off: ")
    assert f" has been moved to {new} while it was in use" in last
    assert last.endswith(f"Go on with: rtune resume {new}")
    # Nothing is written where the folder was.
    assert (sorted(run.rglob("*")) if run.exists() else None) == before
    assert (new / "launch.log").exists()
    rows = check_whole(new, 60)
    for trial, found in rows.groupby("trial"):
        saved = {int(p.stem[-4:]) for p in (new / "trials" / str(trial)).glob("*.safetensors")}
        assert max(saved, default=0) - len(found) in (0, 1)  # an epoch may be saved and not yet logged
    short = ["--trials", "3", "--time-budget", "8s"]
    done = rtune("resume", str(new), *short)
    assert done.returncode == 0, done.stdout + done.stderr
    check_kept(rows, check_whole(new, 60))


def test_a_deleted_run_ends_the_search_and_does_not_come_back(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "run"
    process = start(tmp_path, "search", "digits", "--name", "run", *OPTIONS)
    wait_for(logged(run, 2))
    shutil.rmtree(run)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    last = output.splitlines()[-1]
    assert "run has been deleted, replaced, or moved to another disk while it was in use" in last
    assert last.endswith("go on with: rtune resume FOLDER")
    assert not (tmp_path / "runs").exists()  # it was made for this run


def test_a_link_that_leads_elsewhere_ends_the_search(tmp_path: Path) -> None:
    real, other = tmp_path / "disk1", tmp_path / "disk2"
    real.mkdir()
    other.mkdir()
    (tmp_path / "runs").symlink_to(real)
    process = start(tmp_path, "search", "digits", "--name", "run", *OPTIONS)
    wait_for(logged(real / "run", 2))
    (tmp_path / "new").symlink_to(other)
    os.replace(tmp_path / "new", tmp_path / "runs")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert output.splitlines()[-1].endswith(f"Go on with: rtune resume {real / 'run'}")
    assert list(other.iterdir()) == []
    check_whole(real / "run", 60)
