"""Where run folders lie: a disk, or an object store that pyarrow knows (s3://, gs://).

A file is written whole or not at all. A store that does not answer is waited for; a disk is not.
"""

import contextlib
import ctypes
import os
import re
import shutil
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from rtune.errors import RtuneError

T = TypeVar("T")

# What a writer leaves behind that is killed in the midst; nobody reads it.
PARTIAL = ".partial"
# Seconds a launch and its workers wait for a store that answers errors; a command that only looks waits less.
PATIENCE = 600.0
IMPATIENCE = 10.0
_READERS = 16
# Seconds: a failure is not worth a word before; nor is another so soon after.
_SILENCE, _NEXT_WORD = 1.0, 60.0
# What no waiting mends, in the words of pyarrow's errors.
_FINAL = re.compile(
    r"access.?denied|forbidden|no.?such.?bucket|bucket.{0,100} not found|invalid.?access.?key"
    r"|signature.?does.?not|expired.?token|HTTP status (400|401|403)\b|unrecognized filesystem|credentials",
    re.IGNORECASE,
)


class StorageError(RtuneError):
    """A file cannot be read or written; the message names the place and the reason."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class Place:
    """A folder or file; `place(where)` makes one. Paths are joined with `/`.

    Methods raise FileNotFoundError for what is not there, StorageError for all else.
    """

    @property
    def local(self) -> Path | None:
        """The path on this machine's file system; None in a store."""
        return None

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def absolute(self) -> str:
        """The path or URI by which another process or machine finds it."""
        return str(self)

    def __truediv__(self, name: str) -> "Place":
        raise NotImplementedError

    def patient(self, on_wait: Callable[[str], None] | None = None, seconds: float | None = None) -> "Place":
        """The same place, waited for up to `seconds` (`PATIENCE`); `on_wait` is told once an outage why."""
        return self

    def tell(self, why: str) -> None:
        """Tells whoever waits for a patient place."""

    def guarded(self, guard: Callable[[], None]) -> "Place":
        """The same place, where `guard` is called before each try of a store, and may raise; OSError puts
        the try off."""
        return self

    def exists(self) -> bool:
        raise NotImplementedError

    def read(self) -> bytes:
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Whole or not at all; folders above are made."""
        raise NotImplementedError

    def delete(self) -> None:
        """A file, or a folder with all in it; nothing if it is not there."""
        raise NotImplementedError

    def files(self) -> dict[str, int]:
        """Path below this folder -> size in bytes, of all files in it, sorted by path."""
        raise NotImplementedError

    def read_all(self, names: list[str]) -> list[bytes]:
        """Contents of files in this folder, in order."""
        return [(self / name).read() for name in names]


def place(where: "str | Path | Place") -> Place:
    """The place of a path or URI.

    Raises:
        StorageError: the URI is of no kind that pyarrow knows, or has secrets in it.
    """
    if isinstance(where, Place):
        return where
    text = str(where)
    scheme, found, rest = text.partition("://")
    if not found:
        return LocalPlace(Path(text))
    if scheme == "file":
        return LocalPlace(Path(urllib.parse.unquote(rest)))
    base, _, query = text.partition("?")
    # Of Amazon's secret keys many have a slash in them.
    secrets = r"^[^/]*@|^[^/@]*:[^@]*@|\?.*(access|secret).?key|\?.*(token|password)"
    if re.search(secrets, rest, re.IGNORECASE):
        raise StorageError(
            f"{scheme}://...: secrets do not belong in a URI, which is printed and saved; "
            "give them as the store's client wants them, such as AWS_ACCESS_KEY_ID in the environment"
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
    """pyarrow's file system for a URI, the path in it, and the query that leads there again at once.

    It tries but once: `RemotePlace` tries again, and can say so.
    """
    from pyarrow import fs

    asked = dict(urllib.parse.parse_qsl(query))
    if scheme == "gs" and "retry_limit_seconds" not in asked:
        text += ("&" if query else "?") + "retry_limit_seconds=2"
    system, path = fs.FileSystem.from_uri(text)
    if scheme != "s3" or not asked.keys() <= {"region", "scheme", "endpoint_override", "tls_ca_file_path"}:
        return system, path, query
    # Of the environment's endpoints pyarrow takes account in URIs only.
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        if os.environ.get(name) and "endpoint_override" not in asked:
            asked["endpoint_override"] = os.environ[name]
    if "region" not in asked and "endpoint_override" not in asked:
        # pyarrow has asked Amazon where the bucket is; whoever gets our URI need not ask again.
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
    """On a disk of this machine, or one that all machines mount."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def local(self) -> Path:
        return self.path

    @property
    def name(self) -> str:
        return Path(os.path.abspath(self.path)).name  # a link is called what it is called

    @property
    def absolute(self) -> str:
        return str(self.path.resolve())

    def __truediv__(self, name: str) -> "LocalPlace":
        return LocalPlace(self.path / name)

    def exists(self) -> bool:
        with self._errors("read"):
            return self.path.exists()

    def read(self) -> bytes:
        with self._errors("read"):
            return self.path.read_bytes()

    def write(self, data: bytes) -> None:
        # Of its own name: a worker whose driver has died may write the same file once more.
        temporary = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
        with self._errors("written"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(temporary, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self.path)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise

    def delete(self) -> None:
        with self._errors("deleted"):
            if self.path.is_dir():
                shutil.rmtree(self.path)
            else:
                self.path.unlink(missing_ok=True)

    def files(self) -> dict[str, int]:
        def on_error(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise error

        with self._errors("read"):
            found = {}
            for folder, _, names in os.walk(self.path, onerror=on_error):
                for name in names:
                    with contextlib.suppress(FileNotFoundError):  # another may delete while we look
                        path = Path(folder, name)
                        found[path.relative_to(self.path).as_posix()] = path.stat().st_size
            return dict(sorted(found.items()))

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, StorageError):
            raise
        except OSError as error:
            raise StorageError(f"{self.path} cannot be {what}: {error.strerror or error}") from None


@dataclass(frozen=True)
class RemotePlace(Place):
    """In a store: every file is one object, which the store itself replaces as a whole."""

    system: Any
    path: str
    base: str  # the URI without its query
    query: str
    patience: float = IMPATIENCE
    teller: "_Teller | None" = field(default=None, compare=False)
    guard: Callable[[], None] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.base}?{self.query}" if self.query else self.base

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def __truediv__(self, name: str) -> "RemotePlace":
        base = f"{self.base}/{urllib.parse.quote(name)}"
        return replace(self, path=f"{self.path}/{name}", base=base)

    def patient(
        self, on_wait: Callable[[str], None] | None = None, seconds: float | None = None
    ) -> "RemotePlace":
        teller = None if on_wait is None else _Teller(on_wait)
        return replace(self, patience=PATIENCE if seconds is None else seconds, teller=teller)

    def tell(self, why: str) -> None:
        if self.teller is not None:
            self.teller.tell(why)

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
                # pyarrow asks for the size first: of a file replaced since, it gives a part, or a rest of
                # whatever was in memory.
                if self.system.get_file_info(self.path).size == len(data):
                    return data
            raise OSError("it is changed while it is read")

        return self._try("read", read)

    def write(self, data: bytes) -> None:
        def write() -> None:
            file = self.system.open_output_stream(self.path)
            try:
                file.write(data)
                file.close()
            except BaseException:
                # Neither left as a context nor ever let go, even at the end: it would write half of the file.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(file))
                raise

        self._try("written", write)

    def delete(self) -> None:
        from pyarrow import fs

        def delete() -> None:
            kind = self.system.get_file_info(self.path).type
            with contextlib.suppress(FileNotFoundError):  # another has deleted it just now
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
        """The action's result, tried again while the store's answer may pass."""
        import pyarrow

        begun, pause, told = time.monotonic(), 0.5, False
        while True:
            try:
                if self.guard is not None:
                    self.guard()
                return action()
            except FileNotFoundError:
                raise
            except (OSError, pyarrow.ArrowException) as error:
                reason, waited = _line(error), time.monotonic() - begun
                final = self._is_final(error)
                if final or waited + pause > self.patience:
                    tried = "" if final else f" in {max(1, round(waited))} seconds"
                    raise StorageError(f"{self} cannot be {what}{tried}: {reason}", reason) from None
                if self.teller is not None and waited > _SILENCE and not told:
                    told = True
                    self.teller.tell(f"{self} cannot be {what} now and is tried again: {reason}")
            time.sleep(pause)
            pause = min(2 * pause, 15.0)

    def _is_final(self, error: Exception) -> bool:
        # Not by the names of buckets and keys, which pyarrow quotes.
        words = re.sub(r"'[^']*'", "", str(error)).replace(self.path, "")
        return not isinstance(error, OSError) or _FINAL.search(words) is not None


class _Teller:
    """Says why a launch waits: once, however many threads meet an outage."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._told = -_NEXT_WORD

    def tell(self, why: str) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._told < _NEXT_WORD:
                return
            self._told = now
        self._say(why)


def _line(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
