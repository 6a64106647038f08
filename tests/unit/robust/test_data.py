"""Data: splits that never overlap, augmentation by hand, and readers on files in the exact format."""

import functools
import gzip
import hashlib
import http.server
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from rtune.robust import data
from rtune.robust.data import DataError, Split
from tests.support.image_files import write_cifar, write_fashion_mnist, write_idx


def rows(split: Split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.images}


def test_digits_splits_are_disjoint_and_stratified() -> None:
    train, validation = data.load("digits", seed=3)
    test = data.load_test("digits")
    assert (len(train), len(validation), len(test)) == (1077, 360, 360)
    assert train.images.dtype == torch.uint8
    assert int(train.images.max()) == 255
    for split in (train, validation, test):
        share = split.labels.bincount() / len(split)
        assert share.min() > 0.08
    together = torch.cat([train.images, validation.images, test.images])
    # Every image of the set is in exactly one split.
    source = np.sort([hashlib.sha256(i.tobytes()).hexdigest() for i in _digits()])
    found = np.sort([hashlib.sha256(i.numpy().tobytes()).hexdigest() for i in together])
    assert (source == found).all()


def _digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    return np.round(load_digits().images * (255 / 16)).astype(np.uint8)


def test_seed_changes_the_validation_split_but_not_the_test_split() -> None:
    first, again, other = (data.load("digits", seed=s)[1] for s in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert rows(first) != rows(other)
    test = rows(data.load_test("digits"))
    for seed in range(5):
        for split in data.load("digits", seed=seed):
            assert not rows(split) & test


def test_batches_cover_the_split_once_and_evenly() -> None:
    split = Split(torch.arange(130, dtype=torch.uint8).view(130, 1, 1, 1), torch.arange(130))
    found = list(data.batches(split, 64, torch.Generator().manual_seed(0)))
    assert [len(labels) for _, labels in found] == [44, 43, 43]
    labels = torch.cat([labels for _, labels in found])
    assert sorted(labels.tolist()) == list(range(130))
    images = torch.cat([images for images, _ in found]).flatten()
    assert torch.allclose(images * 255, labels.float())


def test_crop_uses_a_separate_offset_for_each_image() -> None:
    images = torch.randint(1, 255, (200, 2, 5, 6), dtype=torch.uint8)
    cropped = data.random_crop(images, 2, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images, [2] * 4)
    offsets = set()
    for image, whole in zip(cropped, padded, strict=True):
        places = [
            (r, c) for r in range(5) for c in range(5) if torch.equal(image, whole[:, r : r + 5, c : c + 6])
        ]
        assert len(places) == 1
        offsets.add(places[0])
    assert len(offsets) == 25


def test_flip_mirrors_about_half_of_the_images() -> None:
    images = torch.arange(400 * 12, dtype=torch.int32).view(400, 1, 3, 4)
    flipped = data.random_flip(images, torch.Generator().manual_seed(0))
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, images, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(flipped, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 150 < sum(mirrored) < 250


def test_fashion_mnist_from_a_folder_of_idx_files(tmp_path: Path) -> None:
    images = write_fashion_mnist(tmp_path)
    train, validation = data.load("fashion-mnist", tmp_path, download=False)
    assert (len(train), len(validation)) == (90, 10)
    assert train.images.shape[1:] == (1, 28, 28)
    assert rows(train) | rows(validation) == {i.astype(np.uint8).tobytes() for i in images}
    assert torch.equal(data.load_test("fashion-mnist", tmp_path).images[7, 0], torch.tensor(images[7]))


@pytest.mark.parametrize("damage", ["truncated", "no gzip", "foreign", "mismatch"])
def test_broken_idx_files_are_named_in_the_error(tmp_path: Path, damage: str) -> None:
    write_fashion_mnist(tmp_path)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:500])
    elif damage == "no gzip":
        file.write_bytes(b"hello")
    elif damage == "foreign":
        with gzip.open(file, "wb") as stream:
            stream.write(b"\1\2\3\1" + bytes(20))
    else:
        write_idx(file, np.zeros((3, 28, 28)))
    with pytest.raises(DataError, match=str(tmp_path)):
        data.load("fashion-mnist", tmp_path, download=False)


@pytest.mark.parametrize(
    ("kind", "name", "per_file"), [("CIFAR10", "cifar10", 1200), ("CIFAR100", "cifar100", 6000)]
)
def test_cifar_from_files_in_its_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, per_file: int
) -> None:
    raw = write_cifar(tmp_path, monkeypatch, kind, per_file)
    train, validation = data.load(name, tmp_path, download=False)
    assert len(validation) == 5000
    assert len(train) == 1000
    assert train.images.shape[1:] == (3, 32, 32)
    # Red plane first, row by row: the format's own order.
    assert rows(train) | rows(validation) == {image.tobytes() for image in raw[:6000]}
    assert torch.equal(data.load_test(name, tmp_path).images[0].flatten(), torch.tensor(raw[6000]))


def test_missing_data_error_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"cifar10 is not in {tmp_path}, and downloading is off"):
        data.load("cifar10", tmp_path, download=False)
    with pytest.raises(DataError, match="dataset is 'mnist'; it must be one of digits"):
        data.load("mnist")


def test_failed_download_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A port of this machine where nothing listens.
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    with pytest.raises(DataError, match="could not be downloaded"):
        data.load("cifar10", tmp_path)


def test_cifar_is_downloaded_if_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way through torchvision, from a server on this machine."""
    raw = write_cifar(tmp_path / "served", monkeypatch, "CIFAR10", 1200)
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "served" / datasets.CIFAR10.base_folder, datasets.CIFAR10.base_folder)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
        monkeypatch.setattr(datasets.CIFAR10, "url", url)
        (tmp_path / "cache").mkdir()
        train, _ = data.load("cifar10", tmp_path / "cache")
        server.shutdown()
    assert len(train) == 1000
    assert rows(train) <= {image.tobytes() for image in raw}
