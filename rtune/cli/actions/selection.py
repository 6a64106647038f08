"""The trials that the option `--trials` selects."""

import pandas as pd

from rtune.cli.own_analysis import analysis
from rtune.errors import RunError
from rtune.run.folder import RunFolder


def choose(folder: RunFolder, which: str, networks: pd.DataFrame | None = None) -> list[str]:
    """The ids of the trials that `--trials` selects.

    Args:
        folder: the run.
        which: `front`; `best` (the highest robust accuracy in the search); `all`; or ids separated by commas.
        networks: rows of `analysis.networks` to select from; all if None.

    Raises:
        RunError: the run has no network, or a trial that is named has none.
    """
    if networks is None:
        networks = analysis.networks(analysis.load(folder))
    if networks.empty:
        raise RunError(
            f"{folder.place} has no network yet: every trial has failed or has not finished an epoch"
        )
    if which == "front":
        chosen = analysis.front(networks, folder.spec.objectives)
    elif which == "best":
        chosen = networks.sort_values("robust_accuracy", ascending=False, kind="stable").head(1)
    elif which == "all":
        chosen = networks
    else:
        chosen = _named(networks, [part.strip() for part in which.split(",") if part.strip()], folder)
    return list(chosen["trial"])


def _named(networks: pd.DataFrame, names: list[str], folder: RunFolder) -> pd.DataFrame:
    known = networks.set_index("trial", drop=False)
    for name in names or [""]:
        if name not in known.index:
            raise RunError(
                f"--trials names {name!r}, which has no network in {folder.place}; "
                f"give front, best, all, or trials such as {networks['trial'].iloc[0]}"
            )
    return known.loc[list(dict.fromkeys(names))]
