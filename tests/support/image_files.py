"""Files of images in the formats of Fashion-MNIST and CIFAR."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    with gzip.open(path, "wb") as file:
        file.write(header + array.astype(np.uint8).tobytes())


def write_fashion_mnist(folder: Path) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (100, 28, 28))
    for part in ("train", "t10k"):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(100) % 10)
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
