"""What a place promises, on a disk and in a real S3 server on this machine."""

import gc
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rtune.storage import places
from rtune.storage.places import PARTIAL, LocalPlace, Place, RemotePlace, StorageError, place
from tests.support.services import s3

BIG = 20_000_000  # more than a store takes in one request
CONTEXT = multiprocessing.get_context("spawn")


@pytest.fixture(params=["local", "remote"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A folder of either kind."""
    if request.param == "local":
        return place(tmp_path / "home")
    found: Place = request.getfixturevalue("remote")
    return found


@pytest.mark.parametrize(
    "name",
    ["a", "a/b/c.txt", "with space", "a#b", "100%", "a%20b", "ü", "a+b", "what?", "a&b=c", "it's", ".hidden"],
)
def test_what_is_written_under_any_name_is_read_back_and_can_be_named(home: Place, name: str) -> None:
    file = home / name
    assert not file.exists()
    file.write(b"first, and longer")
    file.write(b"second")
    assert file.exists()
    assert file.read() == place(str(file)).read() == b"second"
    assert home.files() == {name: 6}
    assert file.name == name.split("/")[-1]
    file.delete()
    assert not file.exists()
    assert home.files() == {}


def test_files_are_listed_with_their_sizes_in_order(home: Place) -> None:
    for name in ("b", "a/2", "a/10", "c/d/e", "a.b"):
        (home / name).write(name.encode())
    assert list(home.files().items()) == [("a.b", 3), ("a/10", 4), ("a/2", 3), ("b", 1), ("c/d/e", 5)]
    assert (home / "a").files() == {"10": 4, "2": 3}
    assert (home / "a").exists()
    assert home.read_all(["b", "a/2", "b"]) == [b"b", b"a/2", b"b"]
    assert home.read_all([]) == []


def test_a_folder_is_deleted_with_all_in_it_and_nothing_else(home: Place) -> None:
    for name in ("a/1", "a/b/2", "a.b", "ab"):
        (home / name).write(b"")
    (home / "a").delete()
    assert home.files() == {"a.b": 0, "ab": 0}
    assert not (home / "a").exists()
    (home / "a").delete()  # what is not there is no trouble


def test_what_is_not_there_is_not_found(home: Place) -> None:
    assert home.files() == {}
    assert not home.exists()
    (home / "there").write(b"")
    for missing in (home / "missing", home / "folder" / "missing"):
        with pytest.raises(FileNotFoundError):
            missing.read()
        assert not missing.exists()
        assert missing.files() == {}
    with pytest.raises(FileNotFoundError):
        home.read_all(["there", "missing"])
    assert (home / "there").files() == {}  # a file is no folder


def test_a_big_file_is_whole(home: Place) -> None:
    data = random.Random(1).randbytes(BIG)
    (home / "big").write(data)
    assert (home / "big").read() == data
    assert home.files() == {"big": BIG}


def _write_for_ever(where: str, size: int, begun: Any) -> None:
    begun.set()
    while True:
        for letter in (b"a", b"b"):
            place(where).write(letter * size)


def test_a_killed_writer_leaves_a_whole_file(home: Place) -> None:
    file = home / "file"
    chance = random.Random(2)
    for size in (1000, 1_000_000, BIG, BIG):
        file.write(b"0" * size)
        begun = CONTEXT.Event()
        writer = CONTEXT.Process(target=_write_for_ever, args=(str(file), size, begun))
        writer.start()
        assert begun.wait(60)
        time.sleep(chance.uniform(0.0, 0.8))
        writer.kill()
        writer.join()
        found = file.read()
        assert len(found) == size
        assert found in (b"0" * size, b"a" * size, b"b" * size)
    # What is left of the last write is known by its name.
    assert {name for name in home.files() if not name.endswith(PARTIAL)} == {"file"}


def test_a_file_where_a_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/below cannot be written: "):
        (place(tmp_path) / "file" / "below").write(b"")
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        place(tmp_path).read()
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_paths_and_file_uris_are_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a b")
    assert place("a b").local == Path("a b")
    assert place(f"file://{tmp_path}/a%20b") == LocalPlace(tmp_path / "a b")
    assert place(place("link").local or "").name == "link"
    assert place(".").name == tmp_path.name


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://host/runs", "ftp://host/runs cannot be used: Unrecognized filesystem"),
        ("s3://", "it names no bucket"),
        ("s3://bucket/runs?colour=red", "Unexpected query parameter in S3 URI: 'colour'"),
        ("s3://bucket/my runs", "syntax error at character ' '"),
        ("gs://bucket/runs?colour=red", "Unexpected query parameter in GCS URI: 'colour'"),
    ],
)
def test_a_uri_that_names_no_place_is_refused(uri: str, message: str) -> None:
    with pytest.raises(StorageError) as error:
        place(uri)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://KEY:SECRET@bucket/runs",
        "s3://KEY:SEC/RETSECRET@bucket/runs",
        "s3://SECRET@bucket",
        "s3://bucket/runs?access_key=SECRET",
        "s3://bucket/runs?region=x&SecretKey=SECRET",
        "s3://bucket/runs?session_token=SECRET",
        "gs://bucket/runs?PASSWORD=SECRET",
    ],
)
def test_secrets_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(StorageError, match="secrets do not belong in a URI") as error:
        place(uri)
    assert "SECRET" not in str(error.value)
    assert "AWS_ACCESS_KEY_ID" in str(error.value)


ACTIONS: list[Callable[[Place], Any]] = [
    lambda folder: (folder / "a").read(),
    lambda folder: (folder / "a").write(b"x"),
    lambda folder: (folder / "a").exists(),
    lambda folder: (folder / "a").delete(),
    lambda folder: folder.files(),
]


def sentence(action: Callable[[], Any]) -> str:
    """What a StorageError says, which is one line."""
    with pytest.raises(StorageError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_who_has_no_right_is_told_at_once(store: s3.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    folder = place(store.uri("bucket/runs")).patient()
    for action in ACTIONS:
        begun = time.monotonic()
        assert "ACCESS_DENIED" in sentence(lambda action=action: action(folder))  # type: ignore[misc]
        assert time.monotonic() - begun < 10


def test_a_bucket_that_does_not_exist_is_told_at_once(store: s3.Server) -> None:
    folder = place(store.uri("missing/runs")).patient()
    assert "missing" in sentence(lambda: (folder / "a").write(b""))
    assert folder.files() == {}
    with pytest.raises(FileNotFoundError):
        (folder / "a").read()


def test_a_port_where_nobody_listens_is_told_within_seconds() -> None:
    with s3.environment():
        folder = place(s3.Server(s3.closed_port()).uri("bucket/runs"))
    begun = time.monotonic()
    found = sentence(folder.files)
    assert "cannot be read in" in found
    assert "Could not connect" in found
    assert time.monotonic() - begun < 30


def test_a_store_that_never_answers_is_left_within_seconds(store: s3.Server, remote: RemotePlace) -> None:
    with store.outage("hang"):
        begun = time.monotonic()
        assert "Timeout was reached" in sentence(remote.exists)
        assert time.monotonic() - begun < 40


@pytest.mark.parametrize("how", ["SlowDown", "InternalError", "drop"])
def test_an_outage_is_waited_for_and_told_once(how: str, store: s3.Server, remote: RemotePlace) -> None:
    told: list[str] = []
    folder = remote.patient(told.append)
    (folder / "a").write(b"before")
    store.switch(how)
    end = threading.Timer(2.5, store.switch, [""])
    end.start()
    threads = [threading.Thread(target=action, args=(folder,)) for action in (ACTIONS[1], ACTIONS[4])]
    for thread in threads:
        thread.start()
    assert set(folder.read_all(["a"] * 5)) <= {b"before", b"x"}
    for thread in threads:
        thread.join()
    end.join()
    assert (folder / "a").read() == b"x"
    assert len(told) == 1
    assert " now; retrying: " in told[0]


def test_a_passing_failure_is_not_worth_a_word(store: s3.Server, remote: RemotePlace) -> None:
    told: list[str] = []
    store.switch("SlowDown")
    end = threading.Timer(0.3, store.switch, [""])
    end.start()
    (remote.patient(told.append) / "a").write(b"x")
    end.join()
    assert told == []


def test_patience_has_an_end(store: s3.Server, remote: RemotePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PATIENCE", 1.6)
    with store.outage():
        for action in ACTIONS[1:3]:
            assert " seconds: " in sentence(lambda action=action: action(remote.patient()))  # type: ignore[misc]


def test_names_that_sound_like_refusals_are_none(store: s3.Server, remote: RemotePlace) -> None:
    file = remote / "access denied" / "forbidden" / "no such bucket"
    store.switch("SlowDown")
    end = threading.Timer(1, store.switch, [""])
    end.start()
    file.write(b"x")
    end.join()
    assert file.read() == b"x"


@pytest.mark.parametrize("methods", ["POST", "PUT"])
@pytest.mark.parametrize("times", [1, 2, -1])
@pytest.mark.parametrize("size", [9, BIG])
def test_a_write_that_fails_midway_leaves_the_old_file(
    size: int, times: int, methods: str, store: s3.Server, remote: RemotePlace
) -> None:
    """A big file goes in parts, begun and put together by a POST; pyarrow ends a broken one when let go."""
    file = remote.patient(seconds=0) / "file"
    file.write(b"old")
    with store.outage(methods=methods, times=times):
        if size == BIG or methods == "PUT":
            assert "cannot be written" in sentence(lambda: file.write(b"n" * size))
            gc.collect()
    assert file.read() == b"old"
    assert remote.files() == {"file": 3}


def _fail_and_leave(where: str) -> None:
    with pytest.raises(StorageError):
        place(where).patient(seconds=0).write(b"n" * BIG)


def test_a_process_that_ends_after_a_failed_write_leaves_the_old_file(
    store: s3.Server, remote: RemotePlace
) -> None:
    (remote / "file").write(b"old")
    with store.outage(methods="POST", times=1):
        process = CONTEXT.Process(target=_fail_and_leave, args=(str(remote / "file"),))
        process.start()
        process.join(60)
        assert process.exitcode == 0
    assert (remote / "file").read() == b"old"


def test_readers_of_a_file_that_is_being_replaced_get_one_or_the_other(home: Place) -> None:
    """pyarrow asks for the size first, and of a smaller file then gives what was in memory behind it."""
    file = home.patient() / "file"
    contents = [b"a" * 10, b"b" * 1000, b"c" * 100_000]
    file.write(contents[0])
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            for content in contents:
                file.write(content)
                time.sleep(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = [data for _ in range(10) for data in home.patient().read_all(["file"] * 8)]
    finally:
        over.set()
        writer.join()
    assert set(found) <= set(contents)


def test_a_try_is_put_off_or_forbidden_by_the_guard(remote: RemotePlace) -> None:
    answers: list[Exception | None] = [OSError("not now"), None, ValueError("never")]

    def guard() -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    file = remote.guarded(guard) / "a"
    file.write(b"1")
    with pytest.raises(ValueError, match="never"):
        file.write(b"2")
    assert (remote / "a").read() == b"1"


def test_the_endpoint_may_come_from_the_environment(
    store: s3.Server, remote: RemotePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (remote / "a").write(b"here")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{store.port}")
    found = place(f"s3://{remote.path}/a")
    assert found.read() == b"here"
    assert str(found) == f"s3://{remote.path}/a"


def test_where_a_bucket_is_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers get the answer with their URI: an outage does not meet them before they have patience."""
    from pyarrow import fs

    class Amazon:
        @staticmethod
        def from_uri(uri: str) -> tuple[fs.S3FileSystem, str]:
            return fs.S3FileSystem(region="eu-west-3"), "bucket/runs"

    for name in [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(fs, "FileSystem", Amazon)
    assert str(place("s3://bucket/runs") / "a") == "s3://bucket/runs/a?region=eu-west-3"
