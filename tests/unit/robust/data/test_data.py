"""Data: splits that never overlap, and augmentation by hand."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rtune.robust import data
from rtune.robust.data import DataError, Split


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


@pytest.mark.parametrize("counts", [[40, 40, 40], [17, 3, 90, 1], [0, 5], [9]])
@pytest.mark.parametrize("step", [1, 2, 4, 7])
def test_part_has_its_share_of_each_class(counts: list[int], step: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    whole = Split(torch.arange(len(labels)).view(-1, 1, 1, 1), labels)
    part = whole.part(step)
    assert len(part) == -(-len(labels) // step)
    own = part.labels.bincount(minlength=len(counts))
    for found, count in zip(own.tolist(), counts, strict=True):
        assert abs(found - count / step) < 1
    places = part.images.flatten()
    assert torch.equal(part.labels, labels[places])
    assert torch.equal(places, places.unique())  # each once, in the order of the whole
    assert torch.equal(whole.part(step).images, part.images)
    strided = whole.part(step, stratified=False)
    assert torch.equal(strided.images.flatten(), torch.arange(0, len(labels), step))


def test_small_validation_split_gives_a_remark() -> None:
    few, enough = (Split(torch.zeros(n, 1, 1, 1), torch.zeros(n)) for n in (10, 100))
    assert data.remarks(enough) == []
    (remark,) = data.remarks(few)
    assert "only 10 images: an accuracy changes by 10 % with one image" in remark


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (np.ones((4, 1, 2, 2)), np.arange(4) % 2, "has images of type float64"),
        (np.ones((4, 1, 2, 2), "i2"), np.arange(4) % 2, "type int16"),
        (np.ones((4, 2, 2), "u1"), np.arange(4) % 2, r"shape \(2, 2\)"),
        (np.ones((4, 1, 2, 2), "u1"), [0, 1, 0, 1], "has labels of type list"),
        (np.ones((4, 1, 2, 2), "u1"), np.array([0.0, 1, 0, 1]), "has labels of type float64"),
        (np.ones((4, 1, 2, 2), "u1"), np.arange(3) % 2, "has 4 images and 3 labels"),
        (np.ones((4, 1, 2, 2), "u1"), np.array([0, 1, -1, 1]), "has the label -1; labels must be 0 to 1"),
        (np.ones((0, 1, 2, 2), "u1"), np.zeros(0, int), "has no images"),
        (OSError(5, "Input/output error"), None, "cannot be read: OSError: .*Input/output error"),
    ],
)
def test_result_of_a_reader_is_checked(images: Any, labels: Any, reason: str) -> None:
    def read(train: bool, folder: Path, download: bool) -> Any:
        if isinstance(images, Exception):
            raise images
        return images, labels

    source = data.DataSource("toy", (1, 2, 2), 2, 0.5, 0, False, read)
    with pytest.raises(DataError, match=f"the training part of toy in .*{reason}"):
        data.load(source)


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
