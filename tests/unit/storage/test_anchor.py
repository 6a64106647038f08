"""A folder that is moved, deleted or replaced while a process works in it is noticed, and where it is now."""

import os
import shutil
from pathlib import Path

import pytest

from rtune.storage.anchor import Anchor, watched
from rtune.storage.places import StorageError, place


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "run"
    folder.mkdir(parents=True)
    (folder / "file").write_text("content")
    return folder


def test_a_folder_in_its_place_passes_the_check(run: Path) -> None:
    anchor = Anchor(run)
    anchor.check()
    (run / "another").mkdir()
    os.chmod(run, 0o500)
    anchor.check()
    assert anchor.now() == run
    anchor.close()


@pytest.mark.parametrize("what", ["itself", "its parent"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_moved_folder_is_found_where_it_is(run: Path, what: str, replaced: bool) -> None:
    anchor = Anchor(run)
    if what == "itself":
        new = run.rename(run.with_name("moved"))
    else:
        new = run.parent.rename(run.parents[1] / "elsewhere") / "run"
    if replaced:
        shutil.copytree(new, run)
    with pytest.raises(StorageError, match=f"^{run} has been moved to {new} while it was in use$"):
        anchor.check()
    assert anchor.now() == new
    anchor.close()


@pytest.mark.parametrize("replaced", ["nothing", "folder", "file"])
def test_a_deleted_folder_is_gone_whatever_takes_its_place(run: Path, replaced: str) -> None:
    anchor = Anchor(run)
    shutil.rmtree(run)
    if replaced == "folder":
        run.mkdir()
    elif replaced == "file":
        run.touch()
    with pytest.raises(StorageError, match="has been deleted, replaced, or moved to another disk"):
        anchor.check()
    assert anchor.now() is None
    anchor.close()


def test_a_link_to_another_folder_is_another_folder(run: Path) -> None:
    link = run.with_name("link")
    link.symlink_to(run)
    anchor = Anchor(link)
    anchor.check()
    link.unlink()
    run.with_name("other").mkdir()
    link.symlink_to(run.with_name("other"))
    with pytest.raises(StorageError, match=f"{link} has been moved to {run}"):
        anchor.check()
    anchor.close()


def test_a_file_or_a_missing_path_is_refused(run: Path) -> None:
    for path in (run / "file", run / "none"):
        with pytest.raises(StorageError, match=f"{path} cannot be used: "):
            Anchor(path)


def test_nothing_is_written_or_deleted_where_the_folder_was(run: Path) -> None:
    """Neither in its old place, which would be made anew, nor in the folder that has taken its place."""
    with watched(place(run)) as check:
        guarded = place(run).guarded(check)
        (guarded / "trials" / "t0001" / "a").write(b"1")
        new = run.rename(run.with_name("moved"))
        with pytest.raises(StorageError, match="has been moved"):
            (guarded / "trials" / "t0001" / "b").write(b"2")
        assert not run.exists()
        shutil.copytree(new, run)
        with pytest.raises(StorageError, match="has been moved"):
            (guarded / "trials" / "t0001").delete()
        assert (run / "trials" / "t0001" / "a").exists()
        assert (guarded / "trials" / "t0001" / "a").read() == b"1"
