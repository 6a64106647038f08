"""Data sets: their files, their splits, and the augmentation of training images.

Each data set has a reader that returns the whole training or test part; `loading` checks and splits it.
"""

from rtune.robust.data.augmentation import augmented, batches, epoch_order, random_crop, random_flip
from rtune.robust.data.checks import remarks
from rtune.robust.data.errors import DataError, MissingDataError
from rtune.robust.data.loading import CIFAR10, CIFAR100, DIGITS, FASHION_MNIST, SOURCES, load, load_test
from rtune.robust.data.source import DataSource
from rtune.robust.data.split import Split, to_float

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "DIGITS",
    "FASHION_MNIST",
    "SOURCES",
    "DataError",
    "DataSource",
    "MissingDataError",
    "Split",
    "augmented",
    "batches",
    "epoch_order",
    "load",
    "load_test",
    "random_crop",
    "random_flip",
    "remarks",
    "to_float",
]
