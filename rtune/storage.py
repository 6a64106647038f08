"""Where run folders lie: a disk, or an object store that pyarrow knows (s3://, gs://).

A file is written whole or not at all. A store that does not answer is waited for; a disk is not.
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

# Seconds a launch and its workers wait for a store that answers errors; a command that only looks waits less.
PATIENCE = 600.0
_IMPATIENCE = 10.0
_READERS = 16
# What no waiting mends, in the words of pyarrow's errors.
_FINAL = re.compile(
    r"access.?denied|forbidden|no.?such.?bucket|bucket.{0,100} not found|invalid.?access.?key"
    r"|signature.?does.?not|expired.?token|HTTP status (400|401|403)\b|unrecognized filesystem|credentials",
    re.IGNORECASE,
)


class StorageError(Exception):
    """A file cannot be read or written; the message names the place and the reason."""


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

    def __truediv__(self, name: str) -> "Place":
        raise NotImplementedError

    def patient(self, on_wait: Callable[[str], None] | None = None) -> "Place":
        """The same place, waited for up to `PATIENCE` seconds; `on_wait` is told once why."""
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
    if not found or scheme == "file":
        return LocalPlace(Path(rest if found else text))
    import pyarrow
    from pyarrow import fs

    base, _, query = text.partition("?")
    if re.search(r"^[^/]*@", rest) or re.search(r"(access|secret)_?key|token|password", query):
        raise StorageError(
            f"{scheme}://...: secrets do not belong in a URI, which is printed and saved; "
            "give them as the store's client wants them, such as AWS_ACCESS_KEY_ID in the environment"
        )
    try:
        system, path = fs.FileSystem.from_uri(text)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, OSError) as error:
        raise StorageError(f"{text} cannot be used: {_line(error)}") from None
    return RemotePlace(system, path.strip("/"), base.rstrip("/"), query)


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
        return self.path.resolve().name

    def __truediv__(self, name: str) -> "LocalPlace":
        return LocalPlace(self.path / name)

    def exists(self) -> bool:
        return self.path.exists()

    def read(self) -> bytes:
        with self._errors("read"):
            return self.path.read_bytes()

    def write(self, data: bytes) -> None:
        temporary = self.path.with_name(self.path.name + ".partial")
        with self._errors("written"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(temporary, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self.path)
            except OSError:
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
        with self._errors("read"):
            found = {}
            for folder, _, names in os.walk(self.path):
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
    patience: float = _IMPATIENCE
    on_wait: Callable[[str], None] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.base}?{self.query}" if self.query else self.base

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def __truediv__(self, name: str) -> "RemotePlace":
        return replace(self, path=f"{self.path}/{name}", base=f"{self.base}/{name}")

    def patient(self, on_wait: Callable[[str], None] | None = None) -> "RemotePlace":
        return replace(self, patience=PATIENCE, on_wait=on_wait)

    def exists(self) -> bool:
        from pyarrow import fs

        info = self._try("read", lambda: self.system.get_file_info(self.path))
        return bool(info.type != fs.FileType.NotFound)

    def read(self) -> bytes:
        def read() -> bytes:
            with self.system.open_input_file(self.path) as file:
                return bytes(file.read())

        return self._try("read", read)

    def write(self, data: bytes) -> None:
        def write() -> None:
            # Not as a context: leaving it on an error would complete half of an object.
            file = self.system.open_output_stream(self.path)
            file.write(data)
            file.close()

        self._try("written", write)

    def delete(self) -> None:
        def delete() -> None:
            for name in self._list():
                self.system.delete_file(f"{self.path}/{name}")
            with contextlib.suppress(FileNotFoundError):
                self.system.delete_file(self.path)

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
        begun, pause = time.monotonic(), 0.5
        while True:
            try:
                return action()
            except FileNotFoundError:
                raise
            except OSError as error:
                reason, waited = _line(error), time.monotonic() - begun
                if _FINAL.search(reason) or waited + pause > self.patience:
                    tried = f" in {waited:.0f} seconds" if waited > 1 else ""
                    raise StorageError(f"{self} cannot be {what}{tried}: {reason}") from None
                if self.on_wait is not None and pause == 0.5:
                    self.on_wait(f"{self} cannot be {what} now and is tried again: {reason}")
            time.sleep(pause)
            pause = min(2 * pause, 15.0)


def _line(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
