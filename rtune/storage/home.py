"""The home folder in paths that a user gives."""

from pathlib import Path

from rtune.errors import UsageError


def expand(path: str | Path) -> Path:
    """A path with `~` replaced by the home folder: a shell leaves it as it is in `--runs=~/runs`.

    Raises:
        UsageError: there is no such user, or the home is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"{path} cannot be used: the home of {Path(path).parts[0]} is unknown") from None
