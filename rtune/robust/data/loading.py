"""Data sets by name: reads one, checks it, and splits its training part.

The test split has a loader of its own, `load_test`, which the search never calls.
"""

import contextlib
from pathlib import Path

import numpy as np
import torch

from rtune.robust.data import cifar, digits, idx
from rtune.robust.data.checks import check
from rtune.robust.data.errors import DataError, MissingDataError
from rtune.robust.data.files import check_folder
from rtune.robust.data.source import DataSource
from rtune.robust.data.split import Split
from rtune.robust.data.stratify import split

DEFAULT_FOLDER = Path("~/.cache/rtune/data")

DIGITS = DataSource("digits", (1, 8, 8), 10, 0.25, 0, False, digits.read)
FASHION_MNIST = DataSource(
    "fashion-mnist",
    (1, 28, 28),
    10,
    0.1,
    2,
    True,
    idx.reader("fashion-mnist", "FashionMNIST", 28, 10),
    Path("/usr/share/datasets/fashion-mnist"),  # of Debian's package dataset-fashion-mnist
)
CIFAR10 = DataSource("cifar10", (3, 32, 32), 10, 5_000, 4, True, cifar.reader("cifar10", "CIFAR10"))
CIFAR100 = DataSource("cifar100", (3, 32, 32), 100, 5_000, 4, True, cifar.reader("cifar100", "CIFAR100"))
SOURCES = {source.name: source for source in (DIGITS, FASHION_MNIST, CIFAR10, CIFAR100)}


def load(
    source: str | DataSource, folder: Path | None = None, seed: int = 0, download: bool = True
) -> tuple[Split, Split]:
    """Train and validation splits of a data set, on the CPU.

    The validation images are drawn from the training part, stratified by class: 5,000 of CIFAR (section 4
    of arXiv 2003.00631), a tenth of Fashion-MNIST, a quarter of the digits outside the test split.

    Args:
        source: a data set, or a key of `SOURCES`.
        folder: existing folder with the files, or for the download; None for `DEFAULT_FOLDER`, which is
            created if necessary, or `DataSource.system`. The digits need no folder.
        seed: of the split.
        download: whether missing files may be downloaded into `folder`.

    Raises:
        DataError: the folder does not exist, the data is not in it and could not be downloaded, or it is
            damaged or unusable; the message names the file.
    """
    found = _source(source)
    images, labels = _read(found, True, folder, download)
    train, validation = split(labels, found.validation, seed, f"the training part of {found.name}")
    return _as_split(images, labels, train), _as_split(images, labels, validation)


def load_test(source: str | DataSource, folder: Path | None = None, download: bool = True) -> Split:
    """The test split, for the final evaluation only. Arguments and errors as in `load`."""
    images, labels = _read(_source(source), False, folder, download)
    return _as_split(images, labels, np.arange(len(labels)))


def _source(source: str | DataSource) -> DataSource:
    if isinstance(source, DataSource):
        return source
    if source not in SOURCES:
        raise DataError(f"dataset is {source!r}; it must be one of {', '.join(SOURCES)}")
    return SOURCES[source]


def _read(
    source: DataSource, train: bool, folder: Path | None, download: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a part, checked. Raises DataError."""
    if folder is not None:
        check_folder(folder)
        return _checked(source, train, folder, download)
    try:
        folder, home = DEFAULT_FOLDER.expanduser().absolute(), True
    except RuntimeError:  # as in some containers
        folder, home = DEFAULT_FOLDER, False
    if source.system is not None and source.system.is_dir():
        for place in (folder, source.system):
            with contextlib.suppress(MissingDataError):
                return _checked(source, train, place, download=False)
    try:
        return _checked(source, train, folder, download and home)
    except MissingDataError:
        if home:
            raise
        raise DataError(
            f"{source.name} would be in {folder}, and this user has no home folder: set data.folder"
        ) from None


def _checked(source: DataSource, train: bool, folder: Path, download: bool) -> tuple[np.ndarray, np.ndarray]:
    where = f"the {'training' if train else 'test'} part of {source.name}"
    try:
        images, labels = source.read(train, folder, download)
    except DataError:
        raise
    except Exception as error:  # readers of others may raise anything
        reason = " ".join(str(error).split())
        raise DataError(f"{where} in {folder} cannot be read: {type(error).__name__}: {reason}") from None
    check(images, labels, source, f"{where} in {folder}")
    return images, labels


def _as_split(images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> Split:
    return Split(torch.from_numpy(images[index]), torch.from_numpy(labels[index].astype(np.int64)))
