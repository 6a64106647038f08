"""Networks of one setting from several seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .objectives import ObjectiveLike, complete, parse_all, values


def replicates(networks: pd.DataFrame, searched: Sequence[str]) -> "pd.Series[int]":
    """A number for each network's setting: equal for rows of equal searched values, epoch and `images`.

    A missing value equals a missing value and a missing column. Rows of different runs (column `run`) never
    share a setting: runs may differ in what they do not search. The number is a 64-bit hash of the setting
    alone, independent of the order of rows and columns and the same in other tables.

    Args:
        networks: with the column `epoch`; `images` may be there.
        searched: dotted paths of the searched values.
    """
    total = np.zeros(len(networks), np.uint64)
    for path in dict.fromkeys([*searched, "epoch", "images", "run"]):
        if path in networks:
            # A sum does not depend on the order of columns; a missing value adds nothing.
            total += _hashes(networks[path], path)
    return pd.Series(total.view(np.int64), index=networks.index, name="setting", dtype="int64")


def _hashes(column: "pd.Series[Any]", path: str) -> np.ndarray:
    """A hash of path and value for each row; 0 where the value is missing."""
    codes, found = pd.factorize(column)  # most columns have few values
    known = pd.Series(found).infer_objects()
    # 3 and 3.0 of another table's dtype must be equal; + 0.0 turns -0.0 into 0.0.
    number = pd.api.types.is_numeric_dtype(known) or pd.api.types.is_bool_dtype(known)
    plain = known.to_numpy(float) + 0.0 if number else known.astype(str).to_numpy(object)
    salt = pd.util.hash_array(np.array([path], object))
    hashes = pd.util.hash_array(pd.util.hash_array(plain) ^ salt)
    return np.append(hashes, np.uint64(0))[codes]  # -1, the last, is of what is missing


def replicate_sets(
    networks: pd.DataFrame, objectives: Sequence[ObjectiveLike], searched: Sequence[str]
) -> list[np.ndarray]:
    """The networks as sets, one for each seed, each (settings, k) and maximised; none if there is only one.

    The j-th set has the j-th replicate of each setting, in the order of trials. All sets have the same
    settings: a set of fewer would look like a bad seed. The number of sets is the one that uses the most
    networks; settings with fewer replicates are left out.
    """
    asked = parse_all(objectives)
    known = complete(networks, asked)
    again = replicates(known, searched).duplicated(keep=False)  # few, mostly
    known = known[again].sort_values("trial", kind="stable")
    ids = replicates(known, searched)
    turn = ids.groupby(ids).cumcount().to_numpy()
    used = np.bincount(turn) * np.arange(1, turn.max(initial=-1) + 2)  # turn j: settings with more than j
    if len(used) < 2:
        return []
    count = int(used[1:].argmax()) + 2
    whole = ids.map(ids.value_counts()).to_numpy() >= count
    points = values(known, asked)
    return [points[whole & (turn == j)] for j in range(count)]
