"""What is known of a data set before it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class DataSource:
    """A data set: what is known before it is read, and the function that reads it.

    Attributes:
        name: for messages.
        image_shape: (C, H, W).
        classes: number of classes.
        validation: size of the validation split, as a fraction of the training part or a number of images.
        crop_padding: default padding of the random crop, in pixels; 0 for no crop.
        flip: whether training images are flipped horizontally by default.
        read: `read(train, folder, download)` gives images (N, C, H, W) uint8 and labels (N,) as NumPy arrays,
            of the training part or of the test part. What it raises becomes a `DataError`.
        system: folder of an installed package of the system that has the files. It is read if no folder is
            given and the default folder has no files; None if there is no such package.
    """

    name: str
    image_shape: tuple[int, int, int]
    classes: int
    validation: float | int
    crop_padding: int
    flip: bool
    read: Callable[[bool, Path, bool], tuple[np.ndarray, np.ndarray]]
    system: Path | None = None
