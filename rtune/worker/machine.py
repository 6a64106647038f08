"""What a machine must have so that a trial gives the same results there as on any other machine."""

import functools
import hashlib
import importlib.metadata
from pathlib import Path

from rtune.errors import RtuneError
from rtune.storage.places import Place, StorageError, place

# They affect a trial's numbers or its files. Ray itself compares the versions of Python and Ray.
PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "pyarrow")
CODE = "rtune's code"


class UnfitMachineError(RtuneError):
    """No trial can run on this machine. The message: the id of its Ray node, a colon, the reason."""


def parse_unfit(line: str) -> tuple[str, str] | None:
    """Node id and reason from the last line of an `UnfitMachineError`'s traceback; None for other lines."""
    before, mark, message = line.partition(f"{UnfitMachineError.__module__}.{UnfitMachineError.__name__}: ")
    node, colon, reason = message.partition(": ")
    return (node, reason) if mark and colon and not before else None


def import_failed_message(error: str) -> str:
    """The reason if a machine could not import rtune or one of its dependencies."""
    return f"it cannot run rtune: {error}"


@functools.cache
def versions() -> dict[str, str]:
    """Installed versions of `PACKAGES` (empty if one is missing), and a digest of rtune's sources."""
    return {**{name: _version(name) for name in PACKAGES}, CODE: _digest()}


def version_mismatch(wanted: dict[str, str]) -> str | None:
    """A sentence on what this machine has in other versions than `wanted`; None if nothing."""
    here = versions()
    different = [name for name, version in wanted.items() if here.get(name) != version]
    if not different:
        return None
    found = ", ".join(f"{name} {here.get(name) or 'missing'}, not {wanted[name]}" for name in different)
    return f"it has {found}; install the same on all machines"


def problem(wanted: dict[str, str], storage: str, probe: str) -> str | None:
    """Why no trial can run on this machine; None if trials can.

    Args:
        wanted: `versions` of the driver's machine.
        storage: path or URI of the folder that contains the run folder.
        probe: name of a file that the driver has written there. This machine writes a second file as its
            answer, which the driver looks for (`take_answer`).
    """
    if found := version_mismatch(wanted):
        return found
    folder = place(storage)
    try:
        (folder / probe).read()
        (folder / _answer(probe)).write(b"")
    except FileNotFoundError:
        return not_shared_message(storage)
    except (StorageError, OSError) as error:
        return f"it cannot use the storage of the run: {error}"
    return None


def not_shared_message(folder: str) -> str:
    """The reason if a machine does not see the driver's files in a folder (a path or URI)."""
    return (
        f"it has another {folder.partition('?')[0] if '://' in folder else folder} than this machine; "
        "run folders of a cluster lie where all machines see them: a mount such as NFS, "
        "or --runs s3://BUCKET/runs"
    )


def take_answer(storage: Place, probe: str) -> bool:
    """Whether a machine has written its answer to a probe (see `problem`); removes both files."""
    seen = (storage / _answer(probe)).exists()
    for file in (probe, _answer(probe)):
        (storage / file).delete()
    return seen


def _answer(probe: str) -> str:
    return f"{probe}.seen"


def _version(package: str) -> str:
    try:
        # Without the build's suffix, such as +cu128: builds for different GPUs count as the same version.
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return ""


def _digest() -> str:
    """Eight hex digits of the SHA-256 of all sources of this package."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:8]
