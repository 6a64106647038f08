"""Locks that allow one writer at a time and end with their process.

On a file system, NFS included, the kernel holds the lock and releases it with the process. An object store
has no locks, and pyarrow has no conditional write. There, each process writes a claim (a lease) into
`leases/` and then lists all claims: of two simultaneous processes at least one sees the other, and of the
waiting claims the first by name wins. A claim is renewed while its process runs, and is void once it is
stale.
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

from rtune import clock
from rtune.errors import RtuneError
from rtune.storage.anchor import Anchor
from rtune.storage.paths import path_errors, reason
from rtune.storage.places import SHORT_RETRY_SECONDS, LocalPlace, Place, StorageError

# Seconds between renewals of a claim, and seconds without renewal after which it may be stale ...
RENEWED = 10.0
STALE = 60.0
# ... by clocks that may differ: so a stale claim is watched for so many seconds before it is void.
WATCHED = 20.0
_LEASES = "leases"


class InUseError(RtuneError):
    """Another process holds the lock; the message names it."""


class LockLost(Exception):
    """Another process has taken the lock over."""


class Lock:
    """A held lock, made by `take`."""

    def check(self) -> None:
        """Raises LockLost if the lock is known to be lost, StorageError if the folder has been moved."""

    def confirm(self) -> None:
        """As `check`, after asking the store if that is due. Raises OSError if the store does not answer."""

    def release(self) -> None:
        """Releases the lock."""
        raise NotImplementedError


def take(folder: Place) -> Lock:
    """Takes the lock of an existing folder.

    Raises:
        InUseError: another process holds it.
        StorageError: the folder cannot be written or has no locks.
    """
    if isinstance(folder, LocalPlace):
        return _FileLock(folder.path)
    return _Lease(folder / _LEASES)


def is_held(folder: Place) -> bool:
    """Whether a process holds a folder's lock; needs read access only. Raises StorageError."""
    if not isinstance(folder, LocalPlace):
        claims = _claims(folder / _LEASES).values()
        return any(c["held"] and not _is_dead(c) and not _is_stale(c) for c in claims)
    try:
        with path_errors(folder.path / "lock", "read"):
            # A pipe in its place is not waited for.
            descriptor = os.open(folder.path / "lock", os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
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
    """A lock of the kernel on a file in a folder."""

    def __init__(self, folder: Path) -> None:
        self._path = path = folder / "lock"
        try:
            # Open for writing: NFS requires it for an exclusive lock.
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(f"{path.parent} cannot be written: {reason(error)}") from None
        try:
            self._lock(path)
            with contextlib.suppress(OSError):  # on a full disk the lock works without this text
                os.ftruncate(self._descriptor, 0)
                os.write(self._descriptor, json.dumps(_own()).encode())
            self._folder = Anchor(folder)
        except BaseException:
            os.close(self._descriptor)
            raise

    def check(self) -> None:
        self._folder.check()
        try:
            same = os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except OSError:
            same = False
        if not same:  # another process could take it
            raise LockLost("its lock file has been deleted or replaced")

    def _lock(self, path: Path) -> None:
        for pause in (0.1, 0.4, 0.0):  # `is_held` of another process takes the lock for a moment
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(pause)
            except OSError as error:
                if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    raise StorageError(f"{path} cannot be locked: this file system has no locks") from None
                raise StorageError(f"{path} cannot be locked: {error.strerror}") from None
        raise InUseError(_describe(_parse(os.pread(self._descriptor, 4096, 0))))

    def release(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._folder.close()


class _Lease(Lock):
    """A claim in a store, renewed by a thread."""

    def __init__(self, folder: Place) -> None:
        self._folder = folder
        # Renewals do not wait for the store: the loop tries again soon, and must end with the lock.
        self._without_retries = folder.with_retries(seconds=0.0)
        self._own = _own()
        self._renewed = 0.0
        self._renewed_boot = 0.0
        self._void: set[str] = set()  # claims that are void, taken over by this one
        self._lost: str | None = None
        self._stop = threading.Event()
        self._renewing = threading.Lock()
        try:
            self._take()
        except BaseException:
            self._withdraw()
            raise
        self._thread = threading.Thread(target=self._renew_loop, name="rtune-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        if self._lost is not None:
            raise LockLost(self._lost)

    def confirm(self) -> None:
        self.check()
        # Another process takes over only after watching the claim for longer than this.
        if self._age() > 0.75 * WATCHED:
            try:
                self._check_and_renew()
            except StorageError as error:
                raise OSError(error.reason) from None
        self.check()

    def release(self) -> None:
        self._stop.set()
        self._thread.join()
        self._withdraw()

    def _take(self) -> None:
        watched: dict[str, tuple[float, float]] = {}  # claim -> its time, and when that was first seen
        while True:
            self._renew(self._folder)
            undecided = False
            for name, claim in _claims(self._folder).items():
                if name == self._own["token"]:
                    continue
                if _is_dead(claim):
                    self._void.add(name)
                    continue
                if _is_stale(claim) or name in watched:
                    written, since = watched.setdefault(name, (claim["time"], clock.running()))
                    if claim["time"] == written:
                        if clock.running() - since > WATCHED:
                            self._void.add(name)
                        else:
                            undecided = True
                        continue
                if claim["held"] or name < self._own["token"]:
                    raise InUseError(_describe(claim))
                undecided = True  # the other process will see this claim and give up
            if not undecided:
                break
            time.sleep(0.5)
        self._own["held"] = True
        self._renew(self._folder)
        self._delete(self._folder, list(self._void))

    def _renew_loop(self) -> None:
        pause = RENEWED
        while self._lost is None and not self._stop.wait(pause):
            try:
                self._check_and_renew()
                pause = RENEWED
            except StorageError as error:
                # Writers to the store retry for longer and report it, but workers would wait silently.
                if pause < RENEWED:
                    self._folder.report_wait(f"{error}; retrying")
                pause = RENEWED / 10

    def _check_and_renew(self) -> None:
        """Renews the claim if it still exists; otherwise records that the lock is lost."""
        with self._renewing:
            names = self._without_retries.files()
            holders = []
            if self._own["token"] not in names or self._age() > STALE:
                # Another process may have taken over while this one was stopped, and delete the claim soon.
                holders = [
                    claim
                    for name, claim in _claims(self._without_retries).items()
                    if name not in (self._own["token"], *self._void) and claim["held"]
                ]
            if self._own["token"] not in names or any(not _is_stale(claim) for claim in holders):
                self._lost = (
                    f"{_describe(holders[0])} has taken it over" if holders else "its claim has been deleted"
                )
                return
            # A suspended process may have renewed its void claim after it woke up.
            self._delete(self._without_retries, [name for name in self._void if name in names])
            self._renew(self._without_retries)

    def _renew(self, folder: Place) -> None:
        self._own["time"] = now = time.time()
        (folder / self._own["token"]).write(json.dumps(self._own).encode())
        self._renewed = now
        self._renewed_boot = _since_boot()

    def _age(self) -> float:
        """Seconds since the last renewal, those of a stop or of a suspended machine included."""
        return max(time.time() - self._renewed, _since_boot() - self._renewed_boot)

    def _withdraw(self) -> None:
        with contextlib.suppress(StorageError):
            self._delete(self._folder.with_retries(seconds=SHORT_RETRY_SECONDS), [self._own["token"]])

    def _delete(self, folder: Place, names: list[str]) -> None:
        for name in names:
            (folder / name).delete()


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine is suspended, and only forward


def _own() -> dict[str, Any]:
    return {
        "token": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "machine": _machine(),
        "time": time.time(),
        "held": False,
    }


def _machine() -> str:
    """Identifies the machine or container to which process ids belong."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode()}"


def _claims(folder: Place) -> dict[str, dict[str, Any]]:
    """Valid claims in a folder of a store, by name."""
    found = {}
    for name in folder.files():
        for _ in range(3):  # a claim that is renewed at the same time may be read incompletely
            try:
                claim = _parse((folder / name).read())
            except FileNotFoundError:
                break
            if claim:
                found[name] = claim
                break
            time.sleep(0.1)
    return found


def _is_stale(claim: dict[str, Any]) -> bool:
    return bool(time.time() - claim["time"] > STALE)


def _is_dead(claim: dict[str, Any]) -> bool:
    """Whether the claim's process is known to have ended."""
    return claim["machine"] == _machine() and not _is_alive(claim["pid"])


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _parse(data: bytes) -> dict[str, Any]:
    """The holder described in a lock file or claim; empty if the content is not valid."""
    try:
        found = json.loads(data)
        kinds = {"host": str, "pid": int, "machine": str, "time": float, "held": bool}
        return found if all(isinstance(found[name], kind) for name, kind in kinds.items()) else {}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}


def _describe(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder['pid']} on {holder['host']}"
