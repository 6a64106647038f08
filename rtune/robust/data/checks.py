"""Checks of images and labels that hold for every data set."""

import numpy as np

from rtune.robust.data.errors import DataError
from rtune.robust.data.source import DataSource
from rtune.robust.data.split import Split

# A validation split with fewer images is worth a remark: one image changes an accuracy by more than 1 %.
_FEW = 100
_NAMED = 5


def check(images: np.ndarray, labels: np.ndarray, source: DataSource, where: str) -> None:
    """Checks what a reader returns.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) integers.
        source: the data set.
        where: names the part and its folder in messages.

    Raises:
        DataError: types, shapes or numbers are wrong, or as in `check_labels` and `check_images`.
    """
    for array, kind, name in ((images, "u1", "images"), (labels, "iu", "labels")):
        if not isinstance(array, np.ndarray) or (array.dtype.kind not in kind):
            found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise DataError(f"{where} has {name} of type {found}; a NumPy array of integers is expected")
    if images.dtype != np.uint8 or images.shape[1:] != source.image_shape or labels.ndim != 1:
        raise DataError(
            f"{where} has images of shape {images.shape[1:]} and type {images.dtype} and labels of shape "
            f"{labels.shape}; images of shape {source.image_shape} and type uint8 and one label for each are "
            "expected"
        )
    if len(images) != len(labels):
        raise DataError(f"{where} has {len(images):,} images and {len(labels):,} labels")
    check_labels(labels, source.classes, where)
    check_images(images, where)


def check_labels(labels: np.ndarray, classes: int, where: str) -> None:
    """Raises DataError if there are no labels, one is no class, or a class has no label.

    Args:
        labels: (N,) integers.
        classes: number of classes; labels must be 0 to classes - 1.
        where: names the file or the part in messages.
    """
    if not len(labels):
        raise DataError(f"{where} has no images")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise DataError(f"{where} has the label {wrong}; labels must be 0 to {classes - 1}")
    if absent := np.flatnonzero(np.bincount(labels, minlength=classes) == 0).tolist():
        raise DataError(
            f"{where} has no image of {_classes(absent)}, of {classes} classes; each class must have images"
        )


def check_images(images: np.ndarray, where: str) -> None:
    """Raises DataError if most images (N, ...) are a single colour, or all are the same."""
    flat = images.reshape(len(images), -1)
    blank = int((flat == flat[:, :1]).all(axis=1).sum())
    if 2 * blank > len(flat):
        raise DataError(
            f"{where} has {blank:,} of {len(flat):,} images in which all pixels are equal: nothing can be "
            "learned from them, so the file is damaged or not the right one"
        )
    if len(flat) > 1 and (flat == flat[0]).all():
        raise DataError(f"{where} has {len(flat):,} images, all the same: nothing can be learned from them")


def check_split(labels: np.ndarray, kept: np.ndarray, held: np.ndarray, where: str) -> None:
    """Raises DataError if a class of the labels (N,) has no image at the indices `kept` or none at `held`."""
    counts = np.bincount(labels)
    for index, part in ((kept, "training"), (held, "validation")):
        absent = np.flatnonzero((counts > 0) & (np.bincount(labels[index], minlength=len(counts)) == 0))
        if len(absent):
            rarest = absent[counts[absent].argmin()]
            raise DataError(
                f"{where} has too few images of {_classes(absent.tolist())}: the {part} split, "
                f"{len(index):,} of {len(labels):,} images, has none; class {rarest} has {counts[rarest]:,}"
            )


def remarks(validation: Split) -> list[str]:
    """Sentences on what a user should know about a usable validation split; empty if there is nothing."""
    count = len(validation)
    if count >= _FEW:
        return []
    return [
        f"the validation split has only {count} images: an accuracy changes by {100 / count:.3g} % with one "
        "image, so trials that differ by less cannot be told apart"
    ]


def _classes(numbers: list[int]) -> str:
    named = ", ".join(map(str, numbers[:_NAMED]))
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"class{'es' * (len(numbers) > 1)} {named}{more}"
