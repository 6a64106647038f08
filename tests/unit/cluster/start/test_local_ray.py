"""What Ray needs of this machine is found or refused in one sentence, whatever the environment says."""

import os
import resource
import stat
from pathlib import Path

import pytest

from rtune.cluster.start import local_ray
from rtune.errors import ResourceError

USUAL = ("RAY_TMPDIR", "TMPDIR", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    for name in USUAL:
        monkeypatch.delenv(name, raising=False)
    (short / "home").mkdir()
    monkeypatch.setenv("HOME", str(short / "home"))


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path is short enough for sockets."""
    import tempfile

    return Path(tempfile.mkdtemp(prefix="rt-", dir="/tmp"))


def test_a_usable_folder_is_the_one_that_ray_would_take(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with local_ray.prepared() as found:
        assert found == Path("/tmp/ray")
    monkeypatch.setenv("TMPDIR", str(short))
    with local_ray.prepared() as found:
        assert found == short / "ray"
    (short / "other").mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(short / "other"))
    with local_ray.prepared() as found:
        assert found == short / "other" / "ray"
    assert found.is_dir()


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize("kind", ["long", "absent", "file", "relative", "device"])
def test_an_unusable_folder_is_replaced_by_one_that_is_removed_at_the_end(
    short: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    (short / "file").touch()
    (short / ("l" * 79)).mkdir()
    paths = {
        "long": str(short / ("l" * 79)),
        "absent": str(short / "absent"),
        "file": str(short / "file"),
        "relative": "relative",
        "device": "/dev/null",
    }
    monkeypatch.setenv(name, paths[kind])
    with local_ray.prepared() as found:
        assert found.parent == Path("/tmp")
        assert stat.S_IMODE(found.stat().st_mode) == 0o700
        assert len(os.fsencode(found / local_ray._SOCKET)) <= 107
    assert not found.exists()
    assert not (short / "absent").exists()


def test_rays_logs_stay_if_it_did_not_start(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "relative")
    with pytest.raises(ZeroDivisionError), local_ray.prepared() as found:
        raise ZeroDivisionError
    found.rmdir()


def test_without_any_folder_the_launch_is_refused(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(short / "absent"))
    monkeypatch.setattr(local_ray, "_FOLDERS", (str(short / "a"), "/dev/null"))
    with (
        pytest.raises(
            ResourceError,
            match=f"^TMPDIR is '{short}/absent', but {short}/absent/ray cannot .*set RAY_TMPDIR",
        ),
        local_ray.prepared(),
    ):
        pass


def test_a_launch_without_a_token_makes_one_and_writes_no_home(short: Path) -> None:
    with local_ray.prepared():
        first = os.environ["RAY_AUTH_TOKEN"]
        assert len(first) >= 32
    assert "RAY_AUTH_TOKEN" not in os.environ
    with local_ray.prepared():
        assert os.environ["RAY_AUTH_TOKEN"] != first
    assert list((short / "home").iterdir()) == []


@pytest.mark.parametrize("home", ["absent", "file"])
def test_no_home_is_needed(short: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    (short / "file").touch()
    monkeypatch.setenv("HOME", str(short / home))
    with local_ray.prepared():
        assert os.environ["RAY_AUTH_TOKEN"]


def test_a_users_own_token_is_used(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (short / "home" / ".ray").mkdir()
    (short / "home" / ".ray" / "auth_token").write_text("t" * 40)
    with local_ray.prepared():
        assert "RAY_AUTH_TOKEN" not in os.environ
    (short / "home" / ".ray" / "auth_token").unlink()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with local_ray.prepared():
        assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_path_without_a_token_is_named(
    short: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    if content is not None:
        (short / "token").write_text(content)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(short / "token"))
    with (
        pytest.raises(ResourceError, match=f"^RAY_AUTH_TOKEN_PATH is '{short}/token', which "),
        local_ray.prepared(),
    ):
        pass


def test_too_few_processes_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = []
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # has none
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: raised.append(limits))
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (60, 60))
    with (
        pytest.raises(
            ResourceError, match=r"^this user may have 60 processes and threads \('ulimit -u'\), and has 0"
        ),
        local_ray.prepared(),
    ):
        pass
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (60, 4000))
    with local_ray.prepared():
        assert raised[-1] == (4000, 4000)  # the soft limit is the user's to raise
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    with local_ray.prepared():
        pass
