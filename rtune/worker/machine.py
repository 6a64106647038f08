"""What a machine must have so that a trial there is the trial it would be elsewhere."""

import functools
import hashlib
import importlib.metadata
from pathlib import Path

from rtune.storage.places import Place, StorageError, place

# What decides a trial's numbers or reads and writes its files; Ray itself compares Python and Ray.
PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "pyarrow")
CODE = "rtune's code"


class Unfit(Exception):
    """A trial cannot run where it is, and is not to blame. The message: the node, a colon, the reason."""


def unfit(line: str) -> tuple[str, str] | None:
    """Node and reason, where the last line of a traceback is that of an `Unfit`."""
    kind, mark, words = line.partition(f"{Unfit.__module__}.{Unfit.__name__}: ")
    node, colon, reason = words.partition(": ")
    return (node, reason) if mark and colon and not kind else None


def cannot_run(error: str) -> str:
    """The reason where a machine could not import rtune or what it needs."""
    return f"it cannot run rtune: {error}"


@functools.cache
def versions() -> dict[str, str]:
    """Of `PACKAGES` and of rtune's sources, as installed here; empty where something is missing."""
    return {**{name: _version(name) for name in PACKAGES}, CODE: _digest()}


def lack(wanted: dict[str, str]) -> str | None:
    """A sentence on what this machine has in other versions than `wanted`; None if nothing."""
    here = versions()
    other = [name for name, version in wanted.items() if here.get(name) != version]
    if not other:
        return None
    found = ", ".join(f"{name} {here.get(name) or 'missing'}, not {wanted[name]}" for name in other)
    return f"it has {found}; install the same on all machines"


def problem(wanted: dict[str, str], storage: str, probe: str) -> str | None:
    """Why no trial may run on this machine; None if it may.

    Args:
        wanted: `versions` of the machine that asks.
        storage: path or URI of the folder that the run folder lies in.
        probe: a file there that it has written. Beside it goes another, for it to find (`answered`).
    """
    if found := lack(wanted):
        return found
    folder = place(storage)
    try:
        (folder / probe).read()
        (folder / _answer(probe)).write(b"")
    except FileNotFoundError:
        return not_shared(storage)
    except (StorageError, OSError) as error:
        return f"it cannot use the storage of the run: {error}"
    return None


def not_shared(folder: str) -> str:
    """The sentence on a machine that sees another disk."""
    return (
        f"it has another {folder.partition('?')[0] if '://' in folder else folder} than this machine; "
        "run folders of a cluster lie where all machines see them: a mount such as NFS, "
        "or --runs s3://BUCKET/runs"
    )


def answered(storage: Place, probe: str) -> bool:
    """Whether a machine's file has arrived beside the probe (see `problem`); removes both."""
    seen = (storage / _answer(probe)).exists()
    for file in (probe, _answer(probe)):
        (storage / file).delete()
    return seen


def _answer(probe: str) -> str:
    return f"{probe}.seen"


def _version(package: str) -> str:
    try:
        # Builds of one version for different GPUs are one version.
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return ""


def _digest() -> str:
    """Of all sources of this package, eight hex digits."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:8]
