"""What Ray needs of this machine before it starts here: a folder for its sockets, a token, processes."""

import contextlib
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
from ray._private.authentication.authentication_token_generator import generate_new_authentication_token
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

from rtune.errors import ResourceError

# The longest path of a socket below Ray's folder, and what Linux allows for the whole path (man 7 unix).
_SOCKET = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.99"
_LONGEST = 107
# Tried when neither RAY_TMPDIR nor TMPDIR leads to a folder that can be used.
_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
# Ray's processes on one machine, with two workers, were seen to have this many threads.
_THREADS = 200


@contextlib.contextmanager
def prepared() -> Iterator[Path]:
    """Context in which Ray can start here. Gives the folder for its sockets and logs.

    Raises:
        ResourceError: this machine, or the user's environment, lacks something.
    """
    _check_processes()
    with _token():
        where, is_own = _folder()
        yield where
        # Not after an exception, as Ray's logs may tell the cause.
        if is_own:
            shutil.rmtree(where, ignore_errors=True)


def _folder() -> tuple[Path, bool]:
    """The folder for Ray's sockets and logs, and whether it is of this launch alone.

    It is where Ray itself would have it, `ray` in RAY_TMPDIR, TMPDIR or /tmp, unless that cannot be used.

    Raises:
        ResourceError: no folder can be used.
    """
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), None)
    usual = Path("/tmp" if name is None else os.environ[name]) / "ray"
    if (problem := _problem(usual)) is None:
        return usual, False
    for parent in _FOLDERS:
        try:
            own = Path(tempfile.mkdtemp(prefix="ray-", dir=parent))
        except OSError:
            continue
        if _problem(own) is None:
            return own, True
        shutil.rmtree(own, ignore_errors=True)
    asked = "" if name is None else f"{name} is {os.environ[name]!r}, but "
    raise ResourceError(
        f"{asked}{usual} cannot be used for Ray's sockets and logs ({problem}), nor can a folder in "
        f"{', '.join(_FOLDERS)}; set RAY_TMPDIR to a folder that can be written, with a path of at most "
        f"{_LONGEST - len('/ray/') - len(_SOCKET)} characters"
    )


def _problem(where: Path) -> str | None:
    """Why Ray cannot have its sockets and logs in a folder; None if it can."""
    if not where.is_absolute():
        return "it is not an absolute path"
    if len(os.fsencode(where / _SOCKET)) > _LONGEST:
        return "its path is too long for a socket"
    try:
        if not where.parent.is_dir():
            return f"{where.parent} is not a folder"
        where.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=where) as file:
            file.write(bytes(1024**2))
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return None


@contextlib.contextmanager
def _token() -> Iterator[None]:
    """Context in which Ray finds a token: one of this launch, if the user has none.

    Ray would write one into the home folder, which may not exist or not be writable.
    """
    if _has_token():
        yield
        return
    os.environ["RAY_AUTH_TOKEN"] = generate_new_authentication_token()
    AuthenticationTokenLoader.instance().reset_cache()
    try:
        yield
    finally:
        del os.environ["RAY_AUTH_TOKEN"]
        AuthenticationTokenLoader.instance().reset_cache()


def _has_token() -> bool:
    """Whether Ray finds a token of the user, or is told to use none. Raises ResourceError."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return True
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        found = Path(given or "~/.ray/auth_token").expanduser().read_text().strip()
        problem = "it is empty"
    except (OSError, RuntimeError, UnicodeDecodeError) as error:  # RuntimeError: there is no home
        found, problem = "", str(error)
    if given and not found:
        raise ResourceError(f"RAY_AUTH_TOKEN_PATH is {given!r}, which has no token ({problem}); unset it")
    return bool(found)


def _check_processes() -> None:
    """Raises ResourceError if this user may not have as many processes and threads as Ray starts.

    Ray itself would fail after the better part of a minute.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NPROC)
    if most == resource.RLIM_INFINITY or os.getuid() == 0:  # root has no such limit
        return
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    used = 0
    for process in psutil.process_iter(["uids", "num_threads"]):
        if process.info["uids"] is not None and process.info["uids"].real == os.getuid():
            used += process.info["num_threads"] or 1
    if most - used < _THREADS:
        raise ResourceError(
            f"this user may have {most} processes and threads ('ulimit -u'), and has {used}; Ray needs "
            f"{_THREADS} more; raise the limit"
        )
