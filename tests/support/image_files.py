"""Files of images in the formats of Fashion-MNIST and CIFAR."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets


def idx(array: np.ndarray, code: int = 8) -> bytes:
    """The content of an IDX file of unsigned bytes; code: of the type of its numbers, as its header says."""
    header = struct.pack(">BBBB", 0, 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(path: Path, array: np.ndarray) -> None:
    """Writes an IDX file; compressed if its name ends in .gz."""
    raw = idx(array)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)


def write_fashion_mnist(folder: Path, ending: str = ".gz") -> np.ndarray:
    """Four files of 100 images and labels each; returns the images (200, 28, 28), those of the test last."""
    images = np.random.default_rng(0).integers(0, 256, (200, 28, 28))
    for part, those in (("train", images[:100]), ("t10k", images[100:])):
        write_idx(folder / f"{part}-images-idx3-ubyte{ending}", those)
        write_idx(folder / f"{part}-labels-idx1-ubyte{ending}", np.arange(100) % 10)
    return images


def write_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, per_file: int) -> np.ndarray:
    """Files in CIFAR's own format, with the checksums that torchvision expects set to theirs."""
    rng = np.random.default_rng(0)
    cifar = getattr(datasets, kind)
    base = folder / cifar.base_folder
    base.mkdir(parents=True)
    label = "labels" if kind == "CIFAR10" else "fine_labels"
    classes = 10 if kind == "CIFAR10" else 100
    seen = []

    def save(name: str, content: object) -> tuple[str, str]:
        raw = pickle.dumps(content)
        (base / name).write_bytes(raw)
        return name, hashlib.md5(raw).hexdigest()

    def part(names: list[tuple[str, str]]) -> list[tuple[str, str]]:
        sums = []
        for name, _ in names:
            images = rng.integers(0, 256, (per_file, 3072), dtype=np.uint8)
            seen.append(images)
            sums.append(save(name, {"data": images, label: [i % classes for i in range(per_file)]}))
        return sums

    monkeypatch.setattr(cifar, "train_list", part(cifar.train_list))
    monkeypatch.setattr(cifar, "test_list", part(cifar.test_list))
    key = cifar.meta["key"]
    name, md5 = save(cifar.meta["filename"], {key: [str(c) for c in range(classes)]})
    monkeypatch.setattr(cifar, "meta", {"filename": name, "key": key, "md5": md5})
    return np.concatenate(seen)
