"""Files of images, whole, damaged and lacking: each fault is one sentence that names the file."""

import gzip
import hashlib
import os
import pickle
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from rtune.robust import data
from rtune.robust.data import DataError, MissingDataError, Split
from tests.support.evil_pickle import Evil
from tests.support.image_files import idx, write_cifar, write_fashion_mnist, write_idx

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
PICTURES = np.random.default_rng(1).integers(0, 256, (100, 28, 28))
CLASSES = np.arange(100) % 10


def rows(split: Split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.images}


def refusal(folder: Path, name: str = "fashion-mnist", download: bool = False) -> str:
    """The sentence with which the training part is refused."""
    with pytest.raises(DataError) as found:
        data.load(name, folder, download=download)
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize("ending", [".gz", ""])
@pytest.mark.parametrize("place", ["", "raw", "FashionMNIST", "FashionMNIST/raw", "fashion-mnist"])
def test_fashion_mnist_is_read_from_all_usual_folders(tmp_path: Path, place: str, ending: str) -> None:
    images = write_fashion_mnist(tmp_path / place, ending)
    train, validation = data.load("fashion-mnist", tmp_path, download=False)
    assert (len(train), len(validation)) == (90, 10)
    assert train.images.shape[1:] == (1, 28, 28)
    assert rows(train) | rows(validation) == {i.astype(np.uint8).tobytes() for i in images[:100]}
    test = data.load_test("fashion-mnist", tmp_path, download=False)
    assert torch.equal(test.images[7, 0], torch.tensor(images[107]))


def test_system_package_is_read_if_no_folder_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_fashion_mnist(tmp_path / "package")
    monkeypatch.setattr("rtune.robust.data.loading.DEFAULT_FOLDER", tmp_path / "default")
    source = data.DataSource(**{**vars(data.FASHION_MNIST), "system": tmp_path / "package"})
    assert len(data.load(source, download=False)[0]) == 90
    # Files in the default folder come first.
    write_idx(tmp_path / "default" / IMAGES, images)
    write_idx(tmp_path / "default" / LABELS, np.arange(200) % 10)
    assert len(data.load(source, download=False)[0]) == 180


DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "no IDX": (b"hello", "is not an IDX file: its first bytes are 68 65 6c 6c"),
    "a page of HTML": (b"<!DOCTYPE html>" * 9, "is not an IDX file"),
    "floats": (idx(PICTURES, code=0x0D), "numbers of the IDX type 0x0d; unsigned bytes, 0x08, are expected"),
    "labels": (idx(CLASSES), "holds labels; images are expected"),
    "flat": (idx(PICTURES.reshape(100, 784)), "holds an array of 2 axes; images are expected"),
    "header cut": (idx(PICTURES)[:11], "is damaged: it ends within its header"),
    "data cut": (idx(PICTURES)[:-5], "announces 78,400 bytes of data, and it has only 78,395"),
    "too long": (idx(PICTURES) + b"\0", "announces 78,400 bytes of data, and it has more"),
    "other size": (idx(PICTURES[:, :27]), "has images of 27 x 28 pixels; those of fashion-mnist have"),
    "no images": (idx(PICTURES[:0]), "is damaged: its header gives the sizes 0 x 28 x 28"),
    "enormous": (b"\0\0\x08\3" + b"\xff" * 12 + bytes(99), "its header gives the sizes 4,294,967,295 x"),
    "fewer": (idx(PICTURES[:40]), "has 40 images and"),
    "black": (idx(PICTURES * (np.arange(100) < 30)[:, None, None]), "has 70 of 100 images in which"),
    "one image": (idx(np.repeat(PICTURES[:1], 100, axis=0)), "has 100 images, all the same"),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_wrong_image_file_is_named_in_the_error(tmp_path: Path, damage: str, packed: bool) -> None:
    raw, reason = DAMAGED[damage]
    folder = tmp_path / "FashionMNIST" / "raw"
    write_fashion_mnist(folder, "")
    file = folder / IMAGES
    if packed:
        file.unlink()
        file = folder / f"{IMAGES}.gz"
    file.write_bytes(gzip.compress(raw) if packed and raw else raw)
    found = refusal(tmp_path)
    assert reason in found
    assert str(file) in found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda raw: raw[: len(raw) // 2], "is damaged: Compressed file ended before"),
        (lambda raw: raw[:-8] + b"\0\0\0\0" + raw[-4:], "is damaged: CRC check failed"),
        (lambda raw: raw + b"rubbish", "is damaged: Not a gzipped file"),
        (lambda raw: raw[:40] + bytes(40) + raw[80:], "is damaged: "),
    ],
    ids=["cut", "checksum", "more", "bytes"],
)
def test_damaged_gzip_file_is_named_in_the_error(
    tmp_path: Path, change: Callable[[bytes], bytes], reason: str
) -> None:
    write_fashion_mnist(tmp_path)
    file = tmp_path / f"{IMAGES}.gz"
    file.write_bytes(change(file.read_bytes()))
    assert f"{file} {reason}" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.where(CLASSES == 3, 12, CLASSES), "has the label 12; labels must be 0 to 9"),
        (np.full(100, 4), "has no image of classes 0, 1, 2, 3, 5 and 4 more, of 10 classes"),
        (np.where(CLASSES == 3, 4, CLASSES), "has no image of class 3, of 10 classes"),
        (np.arange(400) % 10, "has 400 labels; each image needs one label"),
    ],
    ids=["range", "one class", "no class 3", "more"],
)
def test_wrong_label_file_is_named_in_the_error(tmp_path: Path, labels: np.ndarray, reason: str) -> None:
    write_fashion_mnist(tmp_path)
    write_idx(tmp_path / f"{LABELS}.gz", labels)
    found = refusal(tmp_path)
    assert reason in found
    assert str(tmp_path / f"{LABELS}.gz") in found


def test_class_absent_from_a_split_is_an_error(tmp_path: Path) -> None:
    write_idx(tmp_path / IMAGES, PICTURES)
    write_idx(tmp_path / LABELS, np.where(np.arange(100) == 7, 9, np.arange(100) % 9))
    assert "and 1 of class 9, the rarest: too few to hold out" in refusal(tmp_path)
    # scikit-learn makes this split, in which no image of class 9 is held out.
    write_idx(tmp_path / LABELS, np.where(np.arange(100) % 50 == 7, 9, np.arange(100) % 9))
    assert "too few images of class 9: the validation split, 10 of 100 images, has none; class 9 has 2" in (
        refusal(tmp_path)
    )


def test_copies_of_a_file_must_agree(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path, ".gz")
    write_fashion_mnist(tmp_path, "")
    write_fashion_mnist(tmp_path / "FashionMNIST" / "raw", ".gz")
    assert len(data.load("fashion-mnist", tmp_path, download=False)[0]) == 90
    write_idx(tmp_path / LABELS, (CLASSES + 1) % 10)
    assert refusal(tmp_path) == (
        f"{tmp_path / LABELS}.gz and {tmp_path / LABELS} hold different labels; delete the wrong one"
    )
    write_idx(tmp_path / LABELS, CLASSES)
    write_idx(tmp_path / "FashionMNIST" / "raw" / f"{IMAGES}.gz", PICTURES)
    assert "hold different images" in refusal(tmp_path)


def test_training_images_as_test_images_are_an_error(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path)
    (tmp_path / f"{IMAGES}.gz").rename(tmp_path / "t10k-images-idx3-ubyte.gz")
    (tmp_path / f"{IMAGES}.gz").write_bytes((tmp_path / "t10k-images-idx3-ubyte.gz").read_bytes())
    with pytest.raises(DataError, match="has the same images as"):
        data.load_test("fashion-mnist", tmp_path, download=False)


@pytest.mark.parametrize("download", [False, True])
def test_images_without_labels_are_an_error(tmp_path: Path, download: bool) -> None:
    write_fashion_mnist(tmp_path)
    (tmp_path / f"{LABELS}.gz").unlink()
    found = refusal(tmp_path, download=download)
    assert found == (f"{tmp_path / IMAGES}.gz is there, but {tmp_path / LABELS}, with or without .gz, is not")


def test_incomplete_download_counts_as_missing(tmp_path: Path) -> None:
    """A dry run tells that the search would download it."""
    write_fashion_mnist(tmp_path / "FashionMNIST" / "raw")
    (tmp_path / "FashionMNIST" / "raw" / f"{LABELS}.gz").unlink()
    with pytest.raises(MissingDataError, match=rf"{IMAGES}\.gz is there, but "):
        data.load("fashion-mnist", tmp_path, download=False)
    assert len(data.load_test("fashion-mnist", tmp_path, download=False)) == 100


def no_file(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def locked(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    write_idx(path, PICTURES)
    path.chmod(0)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (no_file, "is a folder; a file is expected"),
        (loop, "cannot be read: Too many levels of symbolic links"),
        (dangling, "cannot be read: No such file or directory"),
        (pipe, "is not a regular file"),
        (locked, "cannot be read: Permission denied"),
    ],
)
def test_unreadable_file_is_named_in_the_error(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    write_fashion_mnist(tmp_path)
    file = tmp_path / f"{IMAGES}.gz"
    file.unlink()
    make(file)
    assert refusal(tmp_path) == f"{file} {reason}"


def test_wrong_data_folder_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in {
        "none": "does not exist",
        "file/inside": "does not exist",
        "file": "is a file; data.folder must name a folder",
        "loop": "cannot be read: Too many levels of symbolic links",
        "nul\0": "cannot be read: embedded null byte",
    }.items():
        for dataset in ("fashion-mnist", "cifar10", "digits"):
            assert refusal(tmp_path / name, dataset) == f"the data folder {tmp_path / name} {reason}"


def test_without_a_home_folder_data_folder_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "expanduser", lambda self: (_ for _ in ()).throw(RuntimeError("no home")))
    assert len(data.load("digits")[0]) == 1077
    with pytest.raises(DataError, match=r"this user has no home folder: set data\.folder"):
        data.load("cifar10")


# --- CIFAR --------------------------------------------------------------------------------------


def pack(folder: Path, archive: Path, *names: str) -> None:
    """The folder, or only some of its files, as an archive."""
    with tarfile.open(archive, "w:gz") as tar:
        for path in [folder / name for name in names] or [folder]:
            tar.add(path, path.relative_to(folder.parent))


@pytest.mark.parametrize(
    ("kind", "name", "per_file"), [("CIFAR10", "cifar10", 1200), ("CIFAR100", "cifar100", 6000)]
)
@pytest.mark.parametrize("form", ["folder", "the folder itself", "archive"])
def test_cifar_from_files_in_its_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, per_file: int, form: str
) -> None:
    published = getattr(datasets, kind)
    raw = write_cifar(tmp_path / "made", monkeypatch, kind, per_file)
    folder = tmp_path / "made"
    if form == "the folder itself":
        folder = folder / published.base_folder
    if form == "archive":
        folder = tmp_path
        pack(tmp_path / "made" / published.base_folder, tmp_path / published.filename)
    train, validation = data.load(name, folder, download=False)
    assert len(validation) == 5000
    assert len(train) == 1000
    assert train.images.shape[1:] == (3, 32, 32)
    # Red plane first, row by row: the format's own order.
    assert rows(train) | rows(validation) == {image.tobytes() for image in raw[:6000]}
    assert torch.equal(data.load_test(name, folder).images[0].flatten(), torch.tensor(raw[6000]))


def test_damaged_cifar_files_are_named_in_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, monkeypatch, "CIFAR10", 1200)
    folder = tmp_path / "cifar-10-batches-py"
    batch = folder / "data_batch_3"
    whole = batch.read_bytes()
    for content in (whole[:-1], whole + b"\0", whole[:5000] + b"\0" + whole[5001:]):
        batch.write_bytes(content)
        found = refusal(tmp_path, "cifar10", download=True)
        assert f"{batch} is damaged or not the published file: its {len(content):,} bytes" in found
        assert f"delete {folder} to have the data downloaded again" in found
    batch.write_bytes(b"")
    assert refusal(tmp_path, "cifar10") == f"{batch} is empty"
    batch.unlink()
    assert refusal(tmp_path, "cifar10") == f"{batch} is missing; the other files of its part are there"
    batch.mkdir()
    assert refusal(tmp_path, "cifar10") == f"{batch} is a folder; a file is expected"


def test_damaged_cifar_archives_are_named_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path / "made", monkeypatch, "CIFAR10", 1200)
    folder, archive = tmp_path / "made" / "cifar-10-batches-py", tmp_path / "cifar-10-python.tar.gz"
    pack(folder, archive)
    whole = archive.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:999], b"hello" * 999, gzip.compress(b"hello" * 999)):
        archive.write_bytes(content)
        assert f"{archive} is damaged" in refusal(tmp_path, "cifar10", download=True)
    pack(folder, archive, "data_batch_1", "data_batch_2")
    assert f"data_batch_3 in {archive} is missing" in refusal(tmp_path, "cifar10")
    (folder / "data_batch_2").write_bytes(b"not published")
    pack(folder, archive)
    found = refusal(tmp_path, "cifar10")
    assert f"data_batch_2 in {archive} is damaged or not the published file" in found


def test_cifar_pickle_cannot_run_code_even_with_the_right_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path, monkeypatch, "CIFAR100", 60)
    trap = tmp_path / "ran"
    contents = {
        "UnpicklingError: posix.mkdir is not allowed": pickle.dumps({"data": Evil(trap)}),
        "PosixPath is not allowed in it": pickle.dumps({"data": PICTURES, "fine_labels": Path("x")}),
        "does not hold images": pickle.dumps({"data": PICTURES, "fine_labels": CLASSES.tolist()}),
        "cannot be read": pickle.dumps({"data": PICTURES}),
    }
    for reason, raw in contents.items():
        (tmp_path / "cifar-100-python" / "train").write_bytes(raw)
        monkeypatch.setattr(datasets.CIFAR100, "train_list", [("train", hashlib.md5(raw).hexdigest())])
        found = refusal(tmp_path, "cifar100")
        assert reason in found
        assert str(tmp_path / "cifar-100-python" / "train") in found
    assert not trap.exists()


def test_missing_data_error_names_the_folder(tmp_path: Path) -> None:
    for name in ("cifar10", "cifar100", "fashion-mnist"):
        with pytest.raises(
            MissingDataError, match=re.escape(f"{name} is not in {tmp_path}, and downloading is off")
        ):
            data.load(name, tmp_path, download=False)
    with pytest.raises(DataError, match="dataset is 'mnist'; it must be one of digits"):
        data.load("mnist")
