"""Division of labels into two parts with the same shares of the classes."""

import numpy as np

from rtune.robust.data.checks import check_split
from rtune.robust.data.errors import DataError


def split(labels: np.ndarray, held_out: float | int, seed: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Ascending indices of the images that are kept and of those that are held out, stratified by class.

    Args:
        labels: (N,) integers.
        held_out: fraction or number of images to hold out.
        seed: of the draw.
        where: names the data in messages.

    Raises:
        DataError: there are too few images, or too few of a class to be in both parts.
    """
    from sklearn.model_selection import train_test_split  # its import takes a second

    try:
        kept, held = train_test_split(
            np.arange(len(labels)), test_size=held_out, random_state=seed, stratify=labels
        )
    except ValueError:
        counts = np.bincount(labels)
        present = np.flatnonzero(counts)
        rarest = present[counts[present].argmin()]
        have = f"{len(labels):,} images of {len(present)} classes, and {counts[rarest]:,} of class {rarest}"
        what = f"{held_out:,} images" if isinstance(held_out, int) else f"{100 * held_out:.3g} % of them"
        raise DataError(
            f"{where} has {have}, the rarest: too few to hold out {what} with every class in both splits"
        ) from None
    check_split(labels, kept, held, where)
    return np.sort(kept), np.sort(held)
