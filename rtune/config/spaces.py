"""The built-in search spaces, and search files by name or path."""

import difflib
from pathlib import Path

from rtune.errors import SpecError
from rtune.storage import paths
from rtune.storage.home import expand
from rtune.storage.paths import StorageError

# By name: an installation shares the folder search_spaces/ with whatever else is installed beside rtune.
_NAMES = (
    "cifar10-admm",
    "cifar10-enresnet",
    "cifar10-paper",
    "cifar10-rgsm",
    "cifar10-rvsm",
    "cifar10-wideresnet",
    "cifar100-rgsm",
    "digits",
    "fashion-mnist-rgsm",
)


def built_in() -> dict[str, Path]:
    """Name -> file of the built-in search spaces."""
    folder = Path(__file__).resolve().parents[2] / "search_spaces"
    return {name: folder / f"{name}.yaml" for name in _NAMES}


def find(name: str) -> Path:
    """The search file at a path, or the built-in search space of that name. Raises SpecError."""
    path = expand(name)
    if path.suffix in (".yaml", ".yml") or "/" in name:
        try:
            there = paths.exists(path)
        except StorageError as error:
            raise SpecError(f"search file {error}") from None
        if not there:
            raise SpecError(f"search file {name} does not exist")
        return path
    spaces = built_in()
    if name not in spaces:
        close = difflib.get_close_matches(name, spaces, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise SpecError(
            f"search space {paths.shown(name)!r} is none of the built-in ones ({', '.join(spaces)}) "
            f"nor a .yaml file{hint}"
        )
    return spaces[name]
