"""Data sets, kept as uint8 on the device, and their augmentation.

The test split has a loader of its own, `load_test`, which the search never calls.
"""

import contextlib
import gzip
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

DEFAULT_FOLDER = Path("~/.cache/rtune/data")


class DataError(Exception):
    """The data is not available; the message says which, where it was expected, and what to do."""


class MissingDataError(DataError):
    """The files are missing and downloading is not allowed."""


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) uint8 and labels (N,) int64, on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))

    def every(self, step: int) -> "Split":
        """The first image and each `step`-th from there."""
        return Split(self.images[::step], self.labels[::step])


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
            of the training part or of the test part.
    """

    name: str
    image_shape: tuple[int, int, int]
    classes: int
    validation: float | int
    crop_padding: int
    flip: bool
    read: Callable[[bool, Path, bool], tuple[np.ndarray, np.ndarray]]


def load(
    source: str | DataSource, folder: Path | None = None, seed: int = 0, download: bool = True
) -> tuple[Split, Split]:
    """Train and validation splits of a data set, on the CPU.

    The validation images are drawn from the training part, stratified by class: 5,000 of CIFAR (section 4
    of arXiv 2003.00631), a tenth of Fashion-MNIST, a quarter of the digits outside the test split.

    Args:
        source: a data set, or a key of `SOURCES`.
        folder: existing folder with the files, or for the download; None for `DEFAULT_FOLDER`, which is
            created if necessary. The digits need no folder.
        seed: of the split.
        download: whether missing files may be downloaded into `folder`.

    Raises:
        DataError: the folder does not exist, or the data is not in it and could not be downloaded.
    """
    found = _source(source)
    images, labels = _read(found, True, folder, download)
    train, validation = _split(labels, found.validation, seed)
    return _as_split(images, labels, train), _as_split(images, labels, validation)


def load_test(source: str | DataSource, folder: Path | None = None, download: bool = True) -> Split:
    """The test split, for the final evaluation only. Arguments and errors as in `load`."""
    images, labels = _read(_source(source), False, folder, download)
    return _as_split(images, labels, np.arange(len(labels)))


def to_float(images: Tensor) -> Tensor:
    """uint8 pixels as float32 in [0, 1], same shape; not standardised, so that epsilon is in pixel units."""
    return images.float().div_(255)


def batches(
    split: Split, size: int, generator: torch.Generator, crop_padding: int = 0, flip: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of augmented batches in random order: images (B, C, H, W) in [0, 1] and labels (B,).

    The images are distributed over ceil(N / size) batches whose sizes differ by at most one, so that no
    batch is too small for batch normalisation.

    Args:
        split: the images, on the device.
        size: largest number of images in a batch, at least 1.
        generator: on the split's device; the only source of randomness for order and augmentation.
        crop_padding: number of zero pixels added on each side before a random crop to the original size;
            0 for no crop.
        flip: whether each image is flipped horizontally with probability 1/2.
    """
    for index in epoch_order(split, size, generator):
        yield augmented(split, index, generator, crop_padding, flip)


def epoch_order(split: Split, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Indices of the images of each batch of an epoch; arguments as in `batches`."""
    order = torch.randperm(len(split), generator=generator, device=split.labels.device)
    return order.tensor_split(math.ceil(len(split) / size))


def augmented(
    split: Split, index: Tensor, generator: torch.Generator, crop_padding: int, flip: bool
) -> tuple[Tensor, Tensor]:
    """The augmented batch of the images at `index` (B,); other arguments and result as in `batches`."""
    images = split.images[index]
    if crop_padding:
        images = random_crop(images, crop_padding, generator)
    if flip:
        images = random_flip(images, generator)
    return to_float(images), split.labels[index]


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Each image (of N, C, H, W) padded by `padding` zeros and cropped to its size at a random offset."""
    n, channels, height, width = images.shape
    padded = F.pad(images, [padding] * 4)
    offsets = torch.randint(2 * padding + 1, (2, n, 1), generator=generator, device=images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    image = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image (of N, C, H, W) flipped horizontally with probability 1/2."""
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(mirrored, images.flip(3), images)


def _source(source: str | DataSource) -> DataSource:
    if isinstance(source, DataSource):
        return source
    if source not in SOURCES:
        raise DataError(f"dataset is {source!r}; it must be one of {', '.join(SOURCES)}")
    return SOURCES[source]


def _read(
    source: DataSource, train: bool, folder: Path | None, download: bool
) -> tuple[np.ndarray, np.ndarray]:
    if folder is not None and not folder.is_dir():
        raise DataError(f"the data folder {folder} does not exist")
    where = folder or (Path() if source is DIGITS else _default_folder())
    images, labels = source.read(train, where, download)
    top = labels.max(initial=0)
    if images.shape[1:] != source.image_shape or top >= source.classes or not len(images):
        raise DataError(
            f"the {'training' if train else 'test'} part of {source.name} in {folder} has {len(images)} "
            f"images of shape {images.shape[1:]} and labels up to {top}; {source.image_shape} and "
            f"{source.classes} classes are expected"
        )
    return images, labels


def _default_folder() -> Path:
    try:
        return DEFAULT_FOLDER.expanduser().absolute()
    except RuntimeError:  # a user without a home, as in some containers
        raise DataError(f"no home folder is known for {DEFAULT_FOLDER}; set data.folder") from None


def _split(labels: np.ndarray, held_out: float | int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import train_test_split  # its import takes a second

    try:
        kept, held = train_test_split(
            np.arange(len(labels)), test_size=held_out, random_state=seed, stratify=labels
        )
    except ValueError as error:
        raise DataError(f"{len(labels)} images cannot be split: {error}") from None
    return np.sort(kept), np.sort(held)


def _as_split(images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> Split:
    return Split(torch.from_numpy(images[index]), torch.from_numpy(labels[index].astype(np.int64)))


def _read_digits(train: bool, folder: Path, download: bool) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Pixels are 0..16. The data set has no test part: a fixed fifth of the images is used as such.
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    index = _split(bunch.target, 0.2, seed=0)[0 if train else 1]
    return images[index], bunch.target[index]


def _read_fashion_mnist(train: bool, folder: Path, download: bool) -> tuple[np.ndarray, np.ndarray]:
    part = "train" if train else "t10k"
    files = [folder / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    if all(file.is_file() for file in files):
        images, labels = (_read_idx(file) for file in files)
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise DataError(f"{folder}: the {part} images and labels do not belong together")
        return images[:, None], labels
    data = _torchvision("FashionMNIST", "fashion-mnist", train, folder, download)
    return data.data.numpy()[:, None], data.targets.numpy()


def _read_cifar(name: str) -> Callable[[bool, Path, bool], tuple[np.ndarray, np.ndarray]]:
    def read(train: bool, folder: Path, download: bool) -> tuple[np.ndarray, np.ndarray]:
        data = _torchvision(name, name.lower(), train, folder, download)
        return np.ascontiguousarray(data.data.transpose(0, 3, 1, 2)), np.asarray(data.targets)

    return read


def _torchvision(kind: str, name: str, train: bool, folder: Path, download: bool):  # type: ignore[no-untyped-def]
    from torchvision import datasets  # slow to import, and not needed for the digits

    try:
        return getattr(datasets, kind)(str(folder), train=train, download=False)
    except RuntimeError:  # torchvision raises it for missing or damaged files
        if not download:
            raise MissingDataError(f"{name} is not in {folder}, and downloading is off") from None
    try:
        return getattr(datasets, kind)(str(folder), train=train, download=True)
    except (OSError, RuntimeError) as error:
        for left in (folder / kind / "raw", folder / kind):  # created for the download that failed
            with contextlib.suppress(OSError):
                left.rmdir()
        reason = " ".join(str(error).split())
        raise DataError(
            f"{name} is not in {folder} and could not be downloaded ({reason}); "
            "put its files there, or set data.folder to their folder"
        ) from None


def _read_idx(file: Path) -> np.ndarray:
    """The array in a gzipped IDX file of unsigned bytes: bytes 0, 0, 8, rank; big-endian sizes; data."""
    try:
        with gzip.open(file) as stream:
            raw = stream.read()
        rank = raw[3]
        shape = np.frombuffer(raw, ">u4", count=rank, offset=4)
        if raw[:3] != b"\0\0\x08":
            raise ValueError("its magic number is not that of unsigned bytes")
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError(f"{file} is not a readable IDX file: {error}") from None


DIGITS = DataSource("digits", (1, 8, 8), 10, 0.25, 0, False, _read_digits)
FASHION_MNIST = DataSource("fashion-mnist", (1, 28, 28), 10, 0.1, 2, True, _read_fashion_mnist)
CIFAR10 = DataSource("cifar10", (3, 32, 32), 10, 5_000, 4, True, _read_cifar("CIFAR10"))
CIFAR100 = DataSource("cifar100", (3, 32, 32), 100, 5_000, 4, True, _read_cifar("CIFAR100"))
SOURCES = {source.name: source for source in (DIGITS, FASHION_MNIST, CIFAR10, CIFAR100)}
