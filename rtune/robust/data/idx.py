"""Data sets in the files of MNIST: images and labels in IDX format, compressed or not."""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rtune.robust.data import checks, download, files
from rtune.robust.data.errors import DataError, MissingDataError

_UNSIGNED_BYTES = 0x08
_RANKS = {1: "labels", 3: "images"}


def reader(
    name: str, kind: str, side: int, classes: int
) -> Callable[[bool, Path, bool], tuple[np.ndarray, np.ndarray]]:
    """The function `DataSource.read` of a data set in the files of MNIST.

    Both files of a part, each with or without `.gz`, may lie in the folder itself or where torchvision and
    Debian put them: in `raw`, `KIND`, `KIND/raw`, `NAME` or `NAME/raw` below it. If a file is there more than
    once, all copies must have the same content. Downloads go to `KIND/raw`.

    Args:
        name: of the data set, for messages.
        kind: class in torchvision.datasets, which has the addresses and checksums of its files.
        side: height and width of an image.
        classes: number of classes.
    """

    def read(train: bool, folder: Path, may_download: bool) -> tuple[np.ndarray, np.ndarray]:
        part = "train" if train else "t10k"
        goal = folder / kind / "raw"
        places = [base / sub for base in (folder, folder / kind, folder / name) for sub in ("", "raw")]
        try:
            found = _pairs(part, places, goal)
            if not found:
                raise download.missing(name, folder)
        except MissingDataError:
            if not may_download:
                raise
            _fetch(name, kind, folder, goal)
            found = _pairs(part, places, goal)
        images = _agreed([path for pair in found for path in pair[0]], 3)
        labels = _agreed([path for pair in found for path in pair[1]], 1)
        pictures, classified = found[0][0][0], found[0][1][0]
        if images.shape[1:] != (side, side):
            height, width = images.shape[1:]
            raise DataError(
                f"{pictures} has images of {height} x {width} pixels; those of {name} have {side} x {side}"
            )
        if len(images) != len(labels):
            raise DataError(
                f"{pictures} has {len(images):,} images and {classified} has {len(labels):,} labels; each "
                "image needs one label, so the files are not of the same part"
            )
        checks.check_labels(labels, classes, str(classified))
        checks.check_images(images, str(pictures))
        if not train:
            _check_apart(images, str(pictures), places, goal)
        return images[:, None], labels

    return read


def _pairs(part: str, places: list[Path], goal: Path) -> list[tuple[list[Path], list[Path]]]:
    """The files of images and of labels in each place that has both.

    Args:
        part: `train` or `t10k`.
        places: folders to look in.
        goal: where a download that was cut short may have left one of both.

    Raises:
        DataError: no place has both, but one of them has one; `MissingDataError` if that is `goal` alone.
    """
    whole: list[tuple[list[Path], list[Path]]] = []
    halves: list[str] = []
    begun: list[str] = []
    for place in places:
        images, labels = (
            [path for path in (place / f"{stem}.gz", place / stem) if files.present(path)]
            for stem in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
        )
        if images and labels:
            whole.append((images, labels))
        elif images or labels:
            lacking = f"{part}-labels-idx1-ubyte" if images else f"{part}-images-idx3-ubyte"
            (begun if place == goal else halves).append(
                f"{(images or labels)[0]} is there, but {place / lacking}, with or without .gz, is not"
            )
    if not whole and halves:
        raise DataError(halves[0])
    if not whole and begun:
        raise MissingDataError(begun[0])
    return whole


def _agreed(paths: list[Path], rank: int) -> np.ndarray:
    """The array that all of these files hold. Raises DataError if they differ or one cannot be read."""
    first, *others = (read_idx(path, rank) for path in paths)
    for path, other in zip(paths[1:], others, strict=True):
        if not np.array_equal(first, other):
            raise DataError(f"{paths[0]} and {path} hold different {_RANKS[rank]}; delete the wrong one")
    return first


def _check_apart(images: np.ndarray, where: str, places: list[Path], goal: Path) -> None:
    """Raises DataError if the images of the test part are those of the training part."""
    training = []
    with contextlib.suppress(DataError):  # faults of the training part are told where it is used
        training = [(paths[0], read_idx(paths[0], 3)) for paths, _ in _pairs("train", places, goal)]
    for path, others in training:
        if np.array_equal(others, images):
            raise DataError(f"{where} has the same images as {path}: one of them is not what its name says")


def _fetch(name: str, kind: str, folder: Path, goal: Path) -> None:
    """Downloads all files of a data set that are not in `goal` yet. Raises DataError."""
    from torchvision import datasets  # slow to import

    published = getattr(datasets, kind)
    try:
        for file, md5 in published.resources:
            if not files.present(goal / file):
                download.fetch([f"{mirror}{file}" for mirror in published.mirrors], md5, goal / file)
    except download.DownloadError as error:
        raise download.failed(name, folder, error) from None


def read_idx(path: Path, rank: int) -> np.ndarray:
    """The unsigned bytes of an IDX file: bytes 0, 0, 8, rank; big-endian sizes; data.

    Args:
        path: the file, compressed with gzip or not.
        rank: number of axes that are expected: 3 for images, 1 for labels.

    Raises:
        DataError: the file cannot be read, is damaged, holds something else, or has too few or many bytes.
    """
    with files.opened(path) as stream:
        head = files.take(stream, 4 + 4 * rank)
        _check_head(path, head, rank)
        shape = tuple(int(size) for size in np.frombuffer(head, ">u4", count=rank, offset=4))
        count = math.prod(shape)
        if not 0 < count <= files.MOST_BYTES:
            raise DataError(f"{path} is damaged: its header gives the sizes {_times(shape)}")
        data = files.take(stream, count + 1)
    if len(data) != count:
        have = f"only {len(data):,}" if len(data) < count else "more"
        raise DataError(
            f"{path} is damaged: for {_times(shape)} {_RANKS[rank]} its header announces {count:,} bytes of "
            f"data, and it has {have}"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _check_head(path: Path, head: bytes, rank: int) -> None:
    if len(head) < 4 or head[:2] != b"\0\0":
        raise DataError(f"{path} is not an IDX file: its first bytes are {head[:4].hex(' ')}")
    if head[2] != _UNSIGNED_BYTES:
        raise DataError(
            f"{path} holds numbers of the IDX type 0x{head[2]:02x}; unsigned bytes, 0x08, are expected"
        )
    if head[3] != rank:
        what = _RANKS.get(head[3], f"an array of {head[3]} axes")
        raise DataError(f"{path} holds {what}; {_RANKS[rank]} are expected")
    if len(head) < 4 + 4 * rank:
        raise DataError(f"{path} is damaged: it ends within its header")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{size:,}" for size in shape)
