"""CIFAR-10 and CIFAR-100 in their files for Python.

These are pickles, which can run any code when they are loaded. So only files whose checksum is that of the
published ones are loaded, and only arrays, lists, texts and numbers in them.
"""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rtune.robust.data import download, files
from rtune.robust.data.errors import DataError

_PIXELS = (3, 32, 32)
# The functions with which NumPy's versions restore a pickled array.
_RESTORE, _RESTORE_BUFFER = (np.zeros(1, np.uint8).__reduce_ex__(protocol)[0] for protocol in (2, 5))
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RESTORE,
    ("numpy._core.multiarray", "_reconstruct"): _RESTORE,
    ("numpy._core.numeric", "_frombuffer"): _RESTORE_BUFFER,
}


def reader(name: str, kind: str) -> Callable[[bool, Path, bool], tuple[np.ndarray, np.ndarray]]:
    """The function `DataSource.read` of CIFAR-10 or CIFAR-100.

    The files lie in the folder `cifar-10-batches-py` (or `cifar-100-python`), which may itself be the one
    given, or in the published archive, which is read as it is. A download is this archive.

    Args:
        name: of the data set, for messages.
        kind: class in torchvision.datasets, which has the names and checksums of its files.
    """

    def read(train: bool, folder: Path, may_download: bool) -> tuple[np.ndarray, np.ndarray]:
        from torchvision import datasets  # slow to import

        published: Any = getattr(datasets, kind)
        sums = dict(published.train_list if train else published.test_list)
        archive = folder / published.filename
        found = _in_folder(list(sums), folder, published.base_folder, archive)
        if found is None:
            if not files.present(archive):
                if not may_download:
                    raise download.missing(name, folder)
                try:
                    download.fetch([published.url], published.tgz_md5, archive)
                except download.DownloadError as error:
                    raise download.failed(name, folder, error) from None
            found = archive, _in_archive(list(sums), archive, published.base_folder)
        origin, contents = found
        parts = [
            _batch(raw, md5, where, origin) for (where, raw), md5 in zip(contents, sums.values(), strict=True)
        ]
        images = np.concatenate([images for images, _ in parts])
        return images.reshape(-1, *_PIXELS), np.concatenate([labels for _, labels in parts])

    return read


def _in_folder(
    names: list[str], folder: Path, base: str, archive: Path
) -> tuple[Path, list[tuple[str, bytes]]] | None:
    """The files' folder, and path and content of each; None if they are not there or only some, and the
    archive is.

    Raises DataError if some are there and there is no archive.
    """
    for place in (folder / base, *([folder] if folder.name == base else [])):
        paths = [place / name for name in names]
        there = [files.present(path) for path in paths]
        if all(there):
            return place, [(str(path), files.content(path)) for path in paths]
        if any(there) and not files.present(archive):
            lacking = paths[there.index(False)]
            raise DataError(f"{lacking} is missing; the other files of its part are there")
    return None


def _in_archive(names: list[str], archive: Path, base: str) -> list[tuple[str, bytes]]:
    """Name and content of each file in the archive. Raises DataError if it is damaged or lacks one."""
    wanted = {f"{base}/{name}": f"{name} in {archive}" for name in names}
    found: dict[str, bytes] = {}
    with files.opened(archive) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    if member.name in wanted and member.isfile() and member.size <= files.MOST_BYTES:
                        opened = tar.extractfile(member)
                        assert opened is not None
                        found[member.name] = files.take(opened, member.size)
        except tarfile.TarError as error:
            raise DataError(f"{archive} is damaged: {' '.join(str(error).split())}") from None
    for name, where in wanted.items():
        if name not in found:
            raise DataError(f"{where} is missing: the archive is damaged or another one")
    return [(where, found[name]) for name, where in wanted.items()]


def _batch(raw: bytes, md5: str, where: str, origin: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3072) uint8 and labels (N,) of a file's content. Raises DataError.

    Args:
        raw: the content.
        md5: that of the published file.
        where: names the file in messages.
        origin: the folder or archive that it comes from.
    """
    digest = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if digest != md5:
        raise DataError(
            f"{where} is damaged or not the published file: its {len(raw):,} bytes have the MD5 {digest}, "
            f"not {md5}; delete {origin} to have the data downloaded again"
        )
    try:
        content = _Unpickler(io.BytesIO(raw), encoding="latin1").load()
        images = content["data"]
        labels = np.array(content["labels"] if "labels" in content else content["fine_labels"])
    except Exception as error:  # of damaged pickles, of any type
        raise DataError(f"{where} cannot be read: {type(error).__name__}: {error}") from None
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.shape != (len(labels), np.prod(_PIXELS))
        or labels.dtype.kind != "i"
        or labels.ndim != 1
    ):
        raise DataError(f"{where} does not hold images of 32 x 32 pixels with a label for each")
    return images, labels


class _Unpickler(pickle.Unpickler):
    """Restores arrays and plain values, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in it")
        return _ALLOWED[module, name]
