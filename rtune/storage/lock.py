"""One writer at a time: a lock that is gone when its process is.

On a file system the kernel holds it, over NFS too, and drops it with the process. A store has no
locks, and pyarrow no way to write only what is not there yet. So whoever wants a store's folder puts
a claim of its own into `leases/`, then looks who else has one: of two that come at the same moment at
least one sees the other, and of those who ask the first by name has it. A claim is renewed as long as
its process lives, and is void when that is gone.
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

from rtune.errors import RtuneError
from rtune.storage.places import IMPATIENCE, LocalPlace, Place, StorageError

# A claim is renewed so often (seconds), and may be void when it has not been for so long ...
RENEWED = 10.0
STALE = 60.0
# ... by a clock that may be wrong: so it is watched as long as a renewal may take before it is.
WATCHED = 20.0
_LEASES = "leases"


class InUseError(RtuneError):
    """Another process holds the lock; the message says which."""


class LockLost(Exception):
    """Another process has taken the lock over."""


class Lock:
    """A held lock; `take` makes one."""

    def check(self) -> None:
        """Raises LockLost if another is known to have it by now."""

    def confirm(self) -> None:
        """`check`, after asking a store where that is due; OSError says that it does not answer."""

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
    return _Lease(folder / _LEASES)


def is_held(folder: Place) -> bool:
    """Whether a process holds a folder's lock; needs no right to write."""
    if not isinstance(folder, LocalPlace):
        claims = _claims(folder / _LEASES).values()
        return any(c["held"] and not _is_dead(c) and not _is_stale(c) for c in claims)
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
    def __init__(self, folder: Place) -> None:
        self._folder = folder
        # Renewing has no patience of its own: it tries again soon, and must end when the lock does.
        self._quick = folder.patient(seconds=0.0)
        self._own = _own()
        self._renewed = 0.0
        self._void: set[str] = set()  # claims of the dead that this one has taken over from
        self._lost: str | None = None
        self._over = threading.Event()
        self._asking = threading.Lock()
        try:
            self._take()
        except BaseException:
            self._withdraw()
            raise
        self._thread = threading.Thread(target=self._keep, name="rtune-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        if self._lost is not None:
            raise LockLost(self._lost)

    def confirm(self) -> None:
        self.check()
        # Nobody has taken it over who has not watched it for longer than this.
        if time.time() - self._renewed > 0.75 * WATCHED:
            try:
                self._ask()
            except StorageError as error:
                raise OSError(error.reason) from None
        self.check()

    def release(self) -> None:
        self._over.set()
        self._thread.join()
        self._withdraw()

    def _take(self) -> None:
        watched: dict[str, tuple[float, float]] = {}  # claim -> its time, when that was first seen
        while True:
            self._renew(self._folder)
            open_ = False
            for name, claim in _claims(self._folder).items():
                if name == self._own["token"]:
                    continue
                if _is_dead(claim):
                    self._void.add(name)
                    continue
                if _is_stale(claim) or name in watched:
                    written, since = watched.setdefault(name, (claim["time"], time.monotonic()))
                    if claim["time"] == written:
                        if time.monotonic() - since > WATCHED:
                            self._void.add(name)
                        else:
                            open_ = True
                        continue
                if claim["held"] or name < self._own["token"]:
                    raise InUseError(_words(claim))
                open_ = True  # it will see that it has to give way
            if not open_:
                break
            time.sleep(0.5)
        self._own["held"] = True
        self._renew(self._folder)
        self._forget(self._folder, list(self._void))

    def _keep(self) -> None:
        pause = RENEWED
        while self._lost is None and not self._over.wait(pause):
            try:
                self._ask()
                pause = RENEWED
            except StorageError as error:
                # Whoever writes to the store meets the same trouble, and has more patience; but workers wait
                # without a word.
                if pause < RENEWED:
                    self._folder.tell(f"{error}; it is tried again")
                pause = RENEWED / 10

    def _ask(self) -> None:
        """Sees whether the claim still stands, and renews it."""
        with self._asking:
            names = self._quick.files()
            if self._own["token"] not in names:
                holders = [c for c in _claims(self._quick).values() if c["held"]]
                self._lost = f"{_words(holders[0])} has it" if holders else "its claim has been deleted"
                return
            # A process that was stopped in this very place may have renewed a claim that was void.
            self._forget(self._quick, [name for name in self._void if name in names])
            self._renew(self._quick)

    def _renew(self, folder: Place) -> None:
        self._own["time"] = now = time.time()
        (folder / self._own["token"]).write(json.dumps(self._own).encode())
        self._renewed = now

    def _withdraw(self) -> None:
        with contextlib.suppress(StorageError):
            self._forget(self._folder.patient(seconds=IMPATIENCE), [self._own["token"]])

    def _forget(self, folder: Place, names: list[str]) -> None:
        for name in names:
            (folder / name).delete()


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
    """What tells apart the machines, or containers, that count processes each for themselves."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode()}"


def _claims(folder: Place) -> dict[str, dict[str, Any]]:
    """Claims on a store's folder by their names."""
    found = {}
    for name in folder.files():
        for _ in range(3):  # one that is renewed while it is read may come in halves
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
    """Whether the claim's process is known to be gone."""
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
    """The holder that a lock file names; empty if it names none."""
    try:
        found = json.loads(data)
        kinds = {"host": str, "pid": int, "machine": str, "time": float, "held": bool}
        return found if all(isinstance(found[name], kind) for name, kind in kinds.items()) else {}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}


def _words(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder['pid']} on {holder['host']}"
