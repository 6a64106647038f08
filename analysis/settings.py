"""A run's settings network by network, and which of its networks can be compared."""

from functools import reduce
from typing import Any

import numpy as np
import pandas as pd

from rtune.config import fields
from rtune.config.spec import Spec
from rtune.run import schema

# A training that came to its end, or that a rung judged.
JUDGED = ("finished", "stopped")
# Pareto ranks of more networks than this take long.
MOST = 5_000


def setting(networks: pd.DataFrame, spec: Spec, path: str) -> "pd.Series[Any]":
    """What each network had at a dotted path: its searched value, or the search file's plain one.

    Missing where the path does not count (`pruning.rgsm.beta` of a network that RVSM pruned), and where a
    searched one has no value.

    Args:
        networks: one row a network.
        spec: the run's; the path is one of its settings.
    """
    found = pd.Series(None, index=networks.index, dtype=object)
    if path in networks:
        found = networks[path].astype(object)
    if path not in spec.ranges:
        # A path that only points set: the others have what the file says.
        found = found.where(found.notna(), reduce(getattr, path.split("."), spec.file))
    if (opening := fields.opened(path)) is not None:
        found = found.where(setting(networks, spec, opening.slot.path).isin(opening.names))
    return found


def numbers(networks: pd.DataFrame, spec: Spec, path: str) -> "pd.Series[float]":
    """`setting` of a path that holds numbers; nan where it is missing."""
    return pd.to_numeric(setting(networks, spec, path)).astype(float)


def once(networks: pd.DataFrame) -> pd.DataFrame:
    """Without replicates, which would count a setting several times."""
    return networks[networks["sampler"] != schema.REPLICATE]


def judged(networks: pd.DataFrame) -> pd.DataFrame:
    """The networks whose figures say something about their settings, in the order of suggestion.

    Those that were stopped early are among them: they were found worse than others of the same age, and
    without them only settings that were all good would be compared. Their figures are of fewer epochs,
    which makes them look somewhat worse still. Networks still in training are not: they lack epochs for
    no fault of their settings. Nor are replicates.
    """
    found = once(networks)
    found = found[found["status"].isin(JUDGED)]
    # t10000 comes after t9999.
    return found.iloc[np.lexsort([found["trial"].to_numpy(str), found["trial"].str.len().to_numpy(int)])]


def thinned(networks: pd.DataFrame) -> pd.DataFrame:
    """`MOST` of more rows, evenly spread over their order, the first and the last among them."""
    if len(networks) <= MOST:
        return networks
    return networks.iloc[np.linspace(0, len(networks) - 1, MOST).astype(int)]
