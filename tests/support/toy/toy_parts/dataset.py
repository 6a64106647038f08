"""Stripes: two classes that a small network learns at once."""

from pathlib import Path

import numpy as np

from rtune.robust.data import DataSource


def read(train: bool, folder: Path, download: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(int(train))
    labels = np.arange(240 if train else 60) % 2
    images = rng.integers(0, 60, (len(labels), 1, 8, 8))
    images[labels == 0, :, ::2] += 180
    images[labels == 1, :, :, ::2] += 180
    return images.astype(np.uint8), labels


STRIPES = DataSource("stripes", (1, 8, 8), 2, 0.25, 0, False, read)
