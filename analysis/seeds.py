"""Networks of one setting from several seeds, and what a search attains from seed to seed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.objectives import Asked, parse_all, values


def replicates(networks: pd.DataFrame, searched: Sequence[str]) -> "pd.Series[int]":
    """A number for each network's setting: rows of equal searched values and equal epoch, whose figures
    are of equally many images, share it.

    A missing value equals a missing one and a column that is not there. Where there is a column `run`
    (several runs), runs have no settings in common: they may differ in what they do not search. The number
    is a 64-bit hash of the setting alone, the same in every order of rows and columns and in other tables.

    Args:
        networks: with the column `epoch`; `images` may be there.
        searched: dotted paths.
    """
    total = np.zeros(len(networks), np.uint64)
    for path in dict.fromkeys([*searched, "epoch", "images", "run"]):
        if path in networks:
            # A sum does not depend on the order of columns; a missing value adds nothing.
            total += _hashes(networks[path], path)
    return pd.Series(total.view(np.int64), index=networks.index, name="setting", dtype="int64")


def _hashes(column: "pd.Series[Any]", path: str) -> np.ndarray:
    """A hash of each value and the path; 0 where missing."""
    codes, found = pd.factorize(column)  # most columns have few values
    known = pd.Series(found).infer_objects()
    # 3, 3.0 and True of another table's dtype are to be the same; + 0.0 makes one zero of two.
    number = pd.api.types.is_numeric_dtype(known) or pd.api.types.is_bool_dtype(known)
    plain = known.to_numpy(float) + 0.0 if number else known.astype(str).to_numpy(object)
    salt = pd.util.hash_array(np.array([path], object))
    hashes = pd.util.hash_array(pd.util.hash_array(plain) ^ salt)
    return np.append(hashes, np.uint64(0))[codes]  # -1, the last, is of what is missing


def replicate_sets(
    networks: pd.DataFrame, objectives: Sequence[Asked], searched: Sequence[str]
) -> list[np.ndarray]:
    """The networks as sets, one a seed, each (settings, k) and maximised; none where there would be one.

    The j-th replicate of each setting, by trial, makes the j-th set. All sets are of the same settings, or
    a set of few would pass for a bad seed: there are as many as let most networks take part, and
    settings with fewer replicates are left out.
    """
    asked = parse_all(objectives)
    known = networks.dropna(subset=[o.name for o in asked])
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
