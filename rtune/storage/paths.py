"""Paths that a user gives: what lies there, files read and written as a whole.

Whatever the operating system refuses is a `StorageError`, one sentence with the path and the reason: a folder
that may not be entered, a name that is too long, a loop of links, a device in place of a file, a full disk.
`Path.exists` and the like raise some of these errors and hide others, and Python versions differ in which.
"""

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rtune.errors import RtuneError
from rtune.storage.home import expand

# Suffix of incomplete files, which a killed writer may leave behind; they are never read.
PARTIAL = ".partial"
# Longer paths are abbreviated in messages.
_LONGEST = 200


class StorageError(RtuneError):
    """A file cannot be read or written; the message names the place and the reason."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


@contextlib.contextmanager
def path_errors(path: str | Path, what: str, missing: bool = False) -> Iterator[None]:
    """Context that turns an error at or below a path into the StorageError "PATH cannot be WHAT: REASON".

    FileNotFoundError passes through, unless `missing` is given.
    """
    try:
        yield
    except StorageError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a null byte; RuntimeError: no home
        if isinstance(error, FileNotFoundError) and not missing:
            raise
        named = error.filename if isinstance(error, OSError) else None
        where = shown(named if isinstance(named, str) and named.startswith(f"{path}/") else path)
        raise StorageError(f"{where} cannot be {what}: {reason(error)}", reason(error)) from None


def reason(error: BaseException) -> str:
    """Why it failed, such as "Permission denied"."""
    text = error.strerror if isinstance(error, OSError) else None
    return text or " ".join(str(error).split()).rstrip(".") or type(error).__name__


def sentence(error: OSError) -> str:
    """The path of an error of the operating system, if it has one, and the reason."""
    named = error.filename
    return f"{shown(named)}: {reason(error)}" if isinstance(named, str) and named else reason(error)


def shown(path: str | Path) -> str:
    """A path as it stands in a message."""
    text = str(path)
    return text if len(text) <= _LONGEST else f"{text[:40]}... ({len(text)} characters)"


def status(path: Path) -> os.stat_result | None:
    """What lies at a path, links followed; None if nothing does. Raises StorageError."""
    with path_errors(path, "read"):
        try:
            return os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None


def exists(path: Path) -> bool:
    """Whether anything lies at a path. Raises StorageError."""
    return status(path) is not None


def is_folder(path: Path) -> bool:
    """Whether a folder lies at a path. Raises StorageError."""
    found = status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def is_file(path: Path) -> bool:
    """Whether a regular file lies at a path. Raises StorageError."""
    found = status(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def from_home(path: str | Path) -> Path:
    """The path from the root, with `~` replaced by the home folder.

    Raises:
        UsageError: the home is unknown.
        StorageError: the working directory is unknown.
    """
    with path_errors(path, "used", missing=True):
        return Path(os.path.abspath(expand(path)))


def read(path: Path) -> bytes:
    """The content of a regular file. Raises FileNotFoundError and StorageError."""
    with path_errors(path, "read"), open_regular(path) as file:
        return file.read()


def open_regular(path: str | Path) -> BinaryIO:
    """Opens a file for reading. Raises OSError, also for a pipe or a device, which may have no end."""
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - closed by the caller
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("it is not a regular file")
    return file


def write(path: Path, data: bytes) -> None:
    """Writes a file and its parent folders; the file appears, or replaces another, as a whole.

    Raises:
        StorageError: it cannot be written; what was there is unchanged.
    """
    # A unique name: a worker whose driver has ended may write the same file at the same time.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
    with path_errors(path, "written", missing=True):
        make_folder(path.parent)
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_output(path: Path, data: bytes) -> None:
    """As `write`, for a file that a user names: links are followed, and devices and pipes are written to."""
    found = status(path)
    if found is None or stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
        with path_errors(path, "written"):
            target = path.resolve() if path.is_symlink() else path
        write(target, data)
        return
    with path_errors(path, "written"), open(path, "wb", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) or 0 :]


def make_folder(path: Path) -> None:
    """Creates a folder and its parents. Raises OSError, NotADirectoryError if a file is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


def _without_waiting(path: str, flags: int) -> int:
    """Opens a pipe that nobody writes to at once, instead of waiting for ever."""
    return os.open(path, flags | os.O_NONBLOCK)
