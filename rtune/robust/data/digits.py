"""The digits that come with scikit-learn."""

from pathlib import Path

import numpy as np

from rtune.robust.data.stratify import split


def read(train: bool, folder: Path, download: bool) -> tuple[np.ndarray, np.ndarray]:
    """See `DataSource.read`; the folder is not used."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Pixels are 0..16. The data set has no test part: a fixed fifth of the images is used as such.
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    index = split(bunch.target, 0.2, 0, "digits")[0 if train else 1]
    return images[index], bunch.target[index]
