"""One writer at a time: a lock that is gone when its process is.

On a file system the kernel holds it, over NFS too, and drops it with the process. A store has no
locks: there a file says who writes, and is renewed as long as they live.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from rtune.storage import LocalPlace, Place, StorageError

# A store's lock is renewed so often (seconds), and stale when it has not been for so long.
RENEWED = 10.0
STALE = 60.0


class InUseError(Exception):
    """Another process holds the lock; the message says which."""


class Lost(Exception):
    """Another process has taken the lock over."""


class Lock:
    """A held lock; `take` makes one."""

    def check(self) -> None:
        """Raises Lost if another has it by now."""

    def release(self) -> None:
        raise NotImplementedError


def take(folder: Place) -> Lock:
    """Takes the lock of a folder that exists.

    Raises:
        InUseError: another process has it.
        StorageError: nothing can be written there.
    """
    if isinstance(folder, LocalPlace):
        return _FileLock(folder.path / "lock")
    return _Lease(folder / "lock")


def is_held(folder: Place) -> bool:
    """Whether a process holds a folder's lock; needs no right to write."""
    if not isinstance(folder, LocalPlace):
        return _holder(folder / "lock") is not None
    try:
        descriptor = os.open(folder.path / "lock", os.O_RDONLY)
    except OSError:
        return False  # never locked
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(descriptor)


class _FileLock(Lock):
    def __init__(self, path: Path) -> None:
        try:
            # For writing: NFS gives no exclusive lock otherwise.
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(f"{path.parent} cannot be written: {error.strerror}") from None
        try:
            self._lock(path)
            with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
                os.ftruncate(self._descriptor, 0)
                os.write(self._descriptor, json.dumps(_own()).encode())
        except BaseException:
            os.close(self._descriptor)
            raise

    def _lock(self, path: Path) -> None:
        for patience in (0.1, 0.4, 0.0):  # another's `is_held` has it for a moment
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(patience)
            except OSError as error:
                if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    raise StorageError(f"{path} cannot be locked: this file system has no locks") from None
                raise StorageError(f"{path} cannot be locked: {error.strerror}") from None
        raise InUseError(_words(_parse(os.pread(self._descriptor, 4096, 0))))

    def release(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


class _Lease(Lock):
    def __init__(self, file: Place) -> None:
        holder = _holder(file)
        if holder is not None:
            raise InUseError(_words(holder))
        self._file = file
        self._own = _own()
        self._lost: str | None = None
        self._over = threading.Event()
        self._renew()
        time.sleep(1.0)  # whoever took it in the same moment has written by now; the last one has it
        found = _parse(self._read())
        if found.get("token") != self._own["token"]:
            raise InUseError(_words(found))
        self._thread = threading.Thread(target=self._keep, name="rtune-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        if self._lost is not None:
            raise Lost(self._lost)

    def release(self) -> None:
        self._over.set()
        self._thread.join()
        with contextlib.suppress(StorageError):
            if self._lost is None:
                self._file.delete()

    def _keep(self) -> None:
        while not self._over.wait(RENEWED):
            try:
                found = _parse(self._read())
                if found.get("token") not in (None, self._own["token"]):
                    self._lost = _words(found)
                    return
                self._renew()
            except StorageError:
                continue  # whoever writes to the store meets the same trouble, and has more patience

    def _read(self) -> bytes:
        try:
            return self._file.read()
        except FileNotFoundError:
            return b""

    def _renew(self) -> None:
        self._own["time"] = time.time()
        self._file.write(json.dumps(self._own).encode())


def _own() -> dict[str, Any]:
    return {"token": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid(), "time": time.time()}


def _holder(file: Place) -> dict[str, Any] | None:
    """Who holds a store's lock; None for nobody, or somebody who is gone."""
    try:
        found = _parse(file.read())
    except FileNotFoundError:
        return None
    if not found or time.time() - found["time"] > STALE:
        return None
    gone = found["host"] == socket.gethostname() and not _is_alive(found["pid"])
    return None if gone else found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _parse(data: bytes) -> dict[str, Any]:
    """The holder that a lock file names; empty if it names none."""
    try:
        found = json.loads(data)
        kinds = {"token": str, "host": str, "pid": int, "time": float}
        return found if all(isinstance(found[name], kind) for name, kind in kinds.items()) else {}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}


def _words(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder['pid']} on {holder['host']}"
