"""The settings of each network of a run, and which networks can be compared by them."""

from functools import reduce
from typing import Any

import numpy as np
import pandas as pd

from rtune.config import fields
from rtune.config.spec import Spec
from rtune.run import schema

# Statuses of trials that were trained to the end, or stopped at a rung.
JUDGED = ("finished", "stopped")
# Ranking more networks than this takes long.
MOST = 5_000


def setting(networks: pd.DataFrame, spec: Spec, path: str) -> "pd.Series[Any]":
    """The value of each network at a dotted path: its searched value, or the fixed one of the search file.

    Missing where the path does not apply (`pruning.rgsm.beta` of a network that RVSM pruned), and where a
    searched value is missing.

    Args:
        networks: one row a network.
        spec: the run's; the path is one of its settings.
    """
    found = pd.Series(None, index=networks.index, dtype=object)
    if path in networks:
        found = networks[path].astype(object)
    if path not in spec.ranges:
        # A path that only points set: the other networks have the value of the search file.
        found = found.where(found.notna(), reduce(getattr, path.split("."), spec.file))
    if (required := fields.requirement(path)) is not None:
        found = found.where(setting(networks, spec, required.slot.path).isin(required.names))
    return found


def numbers(networks: pd.DataFrame, spec: Spec, path: str) -> "pd.Series[float]":
    """`setting` of a path that holds numbers; nan where it is missing."""
    return pd.to_numeric(setting(networks, spec, path)).astype(float)


def once(networks: pd.DataFrame) -> pd.DataFrame:
    """The networks without replicates, so that each setting is counted once."""
    return networks[networks["sampler"] != schema.REPLICATE]


def judged(networks: pd.DataFrame) -> pd.DataFrame:
    """The networks from which the effect of settings is estimated, in the order of suggestion.

    Those that were stopped early are included: they were worse than others after equally many epochs, and
    without them only good settings would be compared. Their figures are of fewer epochs, which makes them
    look somewhat worse. Networks in training are left out, because they lack epochs for a reason that has
    nothing to do with their settings; so are replicates.
    """
    found = once(networks)
    found = found[found["status"].isin(JUDGED)]
    # t10000 comes after t9999.
    return found.iloc[np.lexsort([found["trial"].to_numpy(str), found["trial"].str.len().to_numpy(int)])]


def thinned(networks: pd.DataFrame) -> pd.DataFrame:
    """At most `MOST` rows, evenly spread over their order, with the first and the last."""
    if len(networks) <= MOST:
        return networks
    return networks.iloc[np.linspace(0, len(networks) - 1, MOST).astype(int)]
