"""Files of data sets: whether they are there, and their content; every failure is a `DataError`."""

import errno
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rtune.robust.data.errors import DataError

# Bytes: more than any file of a data set here has.
MOST_BYTES = 2**31
_CHUNK = 2**24
_GZIP = b"\x1f\x8b"


def check_folder(folder: Path) -> None:
    """Raises DataError unless `data.folder` is a folder that can be read."""
    try:
        kind = os.stat(folder).st_mode
        readable = os.access(folder, os.R_OK | os.X_OK)
    except (OSError, ValueError) as error:
        missing = isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR)
        why = "does not exist" if missing else f"cannot be read: {_reason(error)}"
        raise DataError(f"the data folder {folder} {why}") from None
    if not stat.S_ISDIR(kind):
        raise DataError(f"the data folder {folder} is a file; data.folder must name a folder")
    if not readable:
        raise DataError(f"the data folder {folder} cannot be read: {os.strerror(errno.EACCES)}")


def present(path: Path) -> bool:
    """Whether a path exists, be it as a broken link. Raises DataError if that cannot be found out."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}") from None
    return True


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Context with a file opened for reading, decompressed if its content is gzip, whatever its name is.

    Raises:
        DataError: it is no regular file, is empty, or cannot be read; also for such errors inside of the
            context, and for damage that decompression finds there.
    """
    try:
        found = os.stat(path)  # before opening: a named pipe would wait for a writer
        if stat.S_ISDIR(found.st_mode):
            raise DataError(f"{path} is a folder; a file is expected")
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{path} is not a regular file")
        if found.st_size == 0:
            raise DataError(f"{path} is empty")
        with open(path, "rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            if packed:
                with gzip.open(file) as stream:
                    yield stream  # type: ignore[misc]
            else:
                yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged: {_reason(error)}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}") from None


def take(stream: IO[bytes], count: int) -> bytes:
    """Up to `count` bytes; fewer at the end. Memory is used for what is there, not for what is asked."""
    parts = []
    while count > 0 and (part := stream.read(min(count, _CHUNK))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def content(path: Path) -> bytes:
    """All bytes of a file, decompressed as by `opened`. Raises DataError, also if there are too many."""
    with opened(path) as stream:
        found = take(stream, MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise DataError(f"{path} is too large: no file of a data set has more than {MOST_BYTES:,} bytes")
    return found


def _reason(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
