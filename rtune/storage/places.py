"""Places of run folders: a disk, or an object store that pyarrow supports (s3://, gs://).

Writes are atomic. Requests that a store does not answer are retried; errors of a disk are not.
"""

import contextlib
import ctypes
import os
import re
import shutil
import time
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from rtune import clock
from rtune.storage import paths
from rtune.storage.home import expand
from rtune.storage.paths import PARTIAL as PARTIAL
from rtune.storage.paths import StorageError as StorageError
from rtune.storage.waiting import Report, WaitReporter

T = TypeVar("T")

# Seconds for which launches and workers retry a failing store, and for which commands that only read do.
RETRY_SECONDS = 600.0
SHORT_RETRY_SECONDS = 10.0
_READERS = 16
# Seconds of failure before it is reported.
_REPORT_AFTER = 1.0
# Texts of pyarrow's errors that no retry resolves.
_FINAL = re.compile(
    r"access.?denied|forbidden|no.?such.?bucket|bucket.{0,100} not found|invalid.?access.?key"
    r"|signature.?does.?not|expired.?token|HTTP status (400|401|403)\b|unrecognized filesystem|credentials",
    re.IGNORECASE,
)


class Place:
    """A folder or file, made by `place(where)`. Paths are joined with `/`.

    Methods raise FileNotFoundError if the file does not exist, and StorageError for all other errors.
    """

    @property
    def local(self) -> Path | None:
        """The path on the file system of this machine; None in a store."""
        return None

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def absolute(self) -> str:
        """The path or URI that other processes and machines can use."""
        return str(self)

    def __truediv__(self, name: str) -> "Place":
        raise NotImplementedError

    def with_retries(self, on_wait: Report | None = None, seconds: float | None = None) -> "Place":
        """The same place with retries for up to `seconds` (None: `RETRY_SECONDS`); a disk has none.

        `on_wait` is called with the reason of a wait, once per outage.
        """
        return self

    def report_wait(self, why: str) -> None:
        """Reports a reason to wait to the `on_wait` of `with_retries`."""

    def guarded(self, guard: Callable[[], None]) -> "Place":
        """The same place, with `guard` called before each request to a store, or change on a disk.

        If `guard` raises OSError, the request to a store is retried; other exceptions are passed on.
        """
        raise NotImplementedError

    def exists(self) -> bool:
        raise NotImplementedError

    def read(self) -> bytes:
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Writes a file atomically and creates its parent folders."""
        raise NotImplementedError

    def delete(self) -> None:
        """Deletes a file, or a folder with its content; does nothing if it does not exist."""
        raise NotImplementedError

    def files(self) -> dict[str, int]:
        """All files below this folder: relative path -> size in bytes, sorted by path."""
        raise NotImplementedError

    def read_all(self, names: list[str]) -> list[bytes]:
        """Contents of the named files of this folder, in the order of `names`."""
        return [(self / name).read() for name in names]


def place(where: "str | Path | Place") -> Place:
    """The place of a path or URI.

    Raises:
        StorageError: pyarrow does not support the URI, or it contains secrets.
    """
    if isinstance(where, Place):
        return where
    text = str(where)
    scheme, found, rest = text.partition("://")
    if not found:
        return LocalPlace(expand(text))
    if scheme == "file":
        return LocalPlace(Path(urllib.parse.unquote(rest)))
    base, _, query = text.partition("?")
    # AWS secret keys may contain slashes.
    secrets = r"^[^/]*@|^[^/@]*:[^@]*@|\?.*(access|secret).?key|\?.*(token|password)"
    if re.search(secrets, rest, re.IGNORECASE):
        raise StorageError(
            f"{scheme}://...: secrets do not belong in a URI, which is printed and saved; "
            "give them in the way of the store's client, such as AWS_ACCESS_KEY_ID in the environment"
        )
    import pyarrow

    try:
        system, path, query = _system(text, scheme, query)
    except (pyarrow.ArrowException, OSError) as error:
        raise StorageError(f"{text} cannot be used: {_line(error)}") from None
    if not path:
        raise StorageError(f"{text} cannot be used: it names no bucket")
    return RemotePlace(system, path.strip("/"), base.rstrip("/"), query)


def _system(text: str, scheme: str, query: str) -> tuple[Any, str, str]:
    """pyarrow's file system for a URI, the path in it, and the query that other processes need.

    pyarrow's own retries are off: `RemotePlace` retries and reports it.
    """
    from pyarrow import fs

    asked = dict(urllib.parse.parse_qsl(query))
    if scheme == "gs" and "retry_limit_seconds" not in asked:
        text += ("&" if query else "?") + "retry_limit_seconds=2"
    system, path = fs.FileSystem.from_uri(text)
    if scheme != "s3" or not asked.keys() <= {"region", "scheme", "endpoint_override", "tls_ca_file_path"}:
        return system, path, query
    # pyarrow reads endpoints from the environment for URIs only, not for S3FileSystem.
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        if os.environ.get(name) and "endpoint_override" not in asked:
            asked["endpoint_override"] = os.environ[name]
    if "region" not in asked and "endpoint_override" not in asked:
        # pyarrow has looked up the region of the bucket; with it in the URI, others need not.
        query += ("&" if query else "") + f"region={system.region}"
    client = fs.S3FileSystem(
        **{"region": system.region, **asked},
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        connect_timeout=5,
        request_timeout=10,
        allow_delayed_open=True,  # one request for a small file, not three
    )
    return client, path, query


@dataclass(frozen=True)
class LocalPlace(Place):
    """A place on a disk of this machine, or on one that all machines mount."""

    path: Path
    guard: Callable[[], None] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def local(self) -> Path:
        return self.path

    @property
    def name(self) -> str:
        with paths.path_errors(self.path, "used", missing=True):
            return Path(os.path.abspath(self.path)).name  # the name of a symbolic link, not of its target

    @property
    def absolute(self) -> str:
        with paths.path_errors(self.path, "used", missing=True):
            return str(self.path.resolve())

    def __truediv__(self, name: str) -> "LocalPlace":
        return replace(self, path=self.path / name)

    def guarded(self, guard: Callable[[], None]) -> "LocalPlace":
        return replace(self, guard=guard)

    def exists(self) -> bool:
        return paths.exists(self.path)

    def read(self) -> bytes:
        return paths.read(self.path)

    def write(self, data: bytes) -> None:
        self._check()
        paths.write(self.path, data)

    def delete(self) -> None:
        self._check()
        with paths.path_errors(self.path, "deleted"):
            if self.path.is_dir():
                shutil.rmtree(self.path)
            else:
                self.path.unlink(missing_ok=True)

    def files(self) -> dict[str, int]:
        def on_error(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise error

        with paths.path_errors(self.path, "read"):
            found = {}
            for folder, _, names in os.walk(self.path, onerror=on_error):
                for name in names:
                    with contextlib.suppress(FileNotFoundError):  # another process may delete files meanwhile
                        path = Path(folder, name)
                        found[path.relative_to(self.path).as_posix()] = path.stat().st_size
            return dict(sorted(found.items()))

    def _check(self) -> None:
        if self.guard is not None:
            self.guard()


@dataclass(frozen=True)
class RemotePlace(Place):
    """A place in a store: every file is one object, which the store replaces atomically."""

    system: Any
    path: str
    base: str  # the URI without its query
    query: str
    retry_seconds: float = SHORT_RETRY_SECONDS
    reporter: WaitReporter | None = field(default=None, compare=False)
    guard: Callable[[], None] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.base}?{self.query}" if self.query else self.base

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def __truediv__(self, name: str) -> "RemotePlace":
        base = f"{self.base}/{urllib.parse.quote(name)}"
        return replace(self, path=f"{self.path}/{name}", base=base)

    def with_retries(self, on_wait: Report | None = None, seconds: float | None = None) -> "RemotePlace":
        reporter = None if on_wait is None else WaitReporter(on_wait)
        return replace(self, retry_seconds=RETRY_SECONDS if seconds is None else seconds, reporter=reporter)

    def report_wait(self, why: str) -> None:
        if self.reporter is not None:
            self.reporter.report_wait(why)

    def guarded(self, guard: Callable[[], None]) -> "RemotePlace":
        return replace(self, guard=guard)

    def exists(self) -> bool:
        from pyarrow import fs

        info = self._try("read", lambda: self.system.get_file_info(self.path))
        return bool(info.type != fs.FileType.NotFound)

    def read(self) -> bytes:
        def read() -> bytes:
            for _ in range(5):
                with self.system.open_input_file(self.path) as file:
                    data = bytes(file.read())
                # pyarrow requests the size first. If the file is replaced in between, the data is incomplete
                # or ends with uninitialised memory.
                if self.system.get_file_info(self.path).size == len(data):
                    return data
            raise OSError("it was changed while it was read")

        return self._try("read", read)

    def write(self, data: bytes) -> None:
        def write() -> None:
            file = self.system.open_output_stream(self.path)
            try:
                file.write(data)
                file.close()
            except BaseException:
                # The stream must never be closed or freed, not even at exit: it would write an incomplete
                # file.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(file))
                raise

        self._try("written", write)

    def delete(self) -> None:
        from pyarrow import fs

        def delete() -> None:
            kind = self.system.get_file_info(self.path).type
            with contextlib.suppress(FileNotFoundError):  # another process has deleted it
                if kind == fs.FileType.File:
                    self.system.delete_file(self.path)
                elif kind == fs.FileType.Directory:
                    self.system.delete_dir(self.path)

        self._try("deleted", delete)

    def files(self) -> dict[str, int]:
        return self._try("read", self._list)

    def read_all(self, names: list[str]) -> list[bytes]:
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(lambda name: (self / name).read(), names))

    def _list(self) -> dict[str, int]:
        from pyarrow import fs

        selector = fs.FileSelector(self.path, allow_not_found=True, recursive=True)
        found = [info for info in self.system.get_file_info(selector) if info.type == fs.FileType.File]
        return dict(sorted((info.path[len(self.path) + 1 :], info.size) for info in found))

    def _try(self, what: str, action: Callable[[], T]) -> T:
        """The result of `action`, retried with growing pauses while its error may be temporary."""
        import pyarrow

        begun, pause, reported = clock.running(), 0.5, False
        while True:
            try:
                if self.guard is not None:
                    self.guard()
                return action()
            except FileNotFoundError:
                raise
            except (OSError, pyarrow.ArrowException) as error:
                reason, waited = _line(error), clock.running() - begun
                final = self._is_final(error)
                if final or waited + pause > self.retry_seconds:
                    tried = "" if final else f" in {max(1, round(waited))} seconds"
                    raise StorageError(f"{self} cannot be {what}{tried}: {reason}", reason) from None
                if self.reporter is not None and waited > _REPORT_AFTER and not reported:
                    reported = True
                    self.reporter.report_wait(f"{self} cannot be {what} now; retrying: {reason}")
            time.sleep(pause)
            pause = min(2 * pause, 15.0)

    def _is_final(self, error: Exception) -> bool:
        # Without the names of buckets and keys, which pyarrow quotes.
        words = re.sub(r"'[^']*'", "", str(error)).replace(self.path, "")
        return not isinstance(error, OSError) or _FINAL.search(words) is not None


def _line(error: BaseException) -> str:
    """The message of an error in one line, 300 characters at most."""
    return " ".join(str(error).split())[:300] or type(error).__name__
