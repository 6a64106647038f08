"""Notices that a folder on a disk was moved, deleted or replaced while a process works in it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from rtune.storage.places import Place, StorageError


class Anchor:
    """A folder as it was when this object was made, whatever becomes of its path.

    Args:
        path: of the folder.

    Raises:
        StorageError: there is no such folder, or it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(f"{path} cannot be used: {error.strerror}") from None

    def check(self) -> None:
        """Raises StorageError if the path no longer leads to the folder; the message says where it is."""
        try:
            same = self._is_at(self._path)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be read: {error.strerror}") from None
        if same:
            return
        if (now := self.now()) is not None:
            raise StorageError(f"{self._path} has been moved to {now} while it was in use")
        raise StorageError(
            f"{self._path} has been deleted, replaced, or moved to another disk while it was in use"
        )

    def now(self) -> Path | None:
        """The present path of the folder; None if it has been deleted."""
        try:
            path = Path(os.readlink(f"/proc/self/fd/{self._descriptor}"))
            return path if self._is_at(path) else None
        except OSError:
            return None

    def close(self) -> None:
        os.close(self._descriptor)

    def _is_at(self, path: Path) -> bool:
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._descriptor))
        except (FileNotFoundError, NotADirectoryError):
            return False


@contextlib.contextmanager
def watched(folder: Place) -> Iterator[Callable[[], None]]:
    """Context with `Anchor.check` of a folder on a disk; for one in a store the check does nothing."""
    if folder.local is None:
        yield lambda: None
        return
    anchor = Anchor(folder.local)
    try:
        yield anchor.check
    finally:
        anchor.close()
