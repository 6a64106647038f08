"""Downloads, from servers on this machine: a whole file under its name, or nothing."""

import functools
import gzip
import hashlib
import http.server
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from rtune.robust import data
from rtune.robust.data import DataError, download
from tests.support.full_disk import fill
from tests.support.image_files import write_cifar, write_fashion_mnist


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and prints nothing."""

    def log_message(self, *_: object) -> None:
        pass


class Cut(Quiet):
    """Announces a whole file and closes the connection in the middle of it."""

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])


@contextmanager
def serving(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    """Context with the address of a server of a folder's files."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the four files of Fashion-MNIST, which torchvision takes for the published ones."""
    folder = tmp_path / "served"
    write_fashion_mnist(folder)
    sums = [(f.name, hashlib.md5(f.read_bytes()).hexdigest()) for f in sorted(folder.iterdir())]
    monkeypatch.setattr(datasets.FashionMNIST, "resources", sums)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty data folder."""
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


def test_fashion_mnist_download_adds_missing_files(
    served: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(served) as url:
        monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/", url])
        data.load("fashion-mnist", cache)
        goal = cache / "FashionMNIST" / "raw"
        assert everything(goal) == everything(served)
        assert (goal / "train-images-idx3-ubyte.gz").stat().st_mode & 0o777 == 0o666 & ~_umask()
        # Cut short after the images: the labels follow.
        for file in goal.glob("*labels*"):
            file.unlink()
        data.load("fashion-mnist", cache)
    data.load_test("fashion-mnist", cache, download=False)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_cifar_download_is_its_archive(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_cifar(tmp_path / "served", monkeypatch, "CIFAR10", 1200)
    archive = tmp_path / "served" / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "served" / datasets.CIFAR10.base_folder, datasets.CIFAR10.base_folder)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    with serving(tmp_path / "served") as url:
        monkeypatch.setattr(datasets.CIFAR10, "url", url + archive.name)
        train, _ = data.load("cifar10", cache)
    assert len(train) == 1000
    assert {image.numpy().tobytes() for image in train.images} <= {image.tobytes() for image in raw}
    assert everything(cache) == [archive.name]
    data.load_test("cifar10", cache, download=False)


@pytest.mark.parametrize("fault", ["no server", "no file", "cut", "another file"])
def test_failed_download_leaves_no_file(
    served: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    reason = {
        "no server": "Connection refused",
        "no file": "HTTP Error 404",
        "cut": "bytes received are not the published file: their MD5 differs",
        "another file": "bytes received are not the published file: their MD5 differs",
    }[fault]
    images = served / "t10k-images-idx3-ubyte.gz"
    if fault == "no file":
        images.unlink()
    if fault == "another file":
        images.write_bytes(gzip.compress(b"a page that asks to log in"))
    with serving(served, Cut if fault == "cut" else Quiet) as url:
        address = "http://127.0.0.1:9/" if fault == "no server" else url
        monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [address])
        with pytest.raises(DataError) as found:
            data.load("fashion-mnist", cache)
    assert "\n" not in str(found.value)
    assert f"fashion-mnist is not in {cache} and could not be downloaded ({address}{images.name}: " in str(
        found.value
    )
    assert reason in str(found.value)
    assert everything(cache) == []


def test_full_disk_leaves_no_partial_file(tmp_path: Path, disk: Path) -> None:
    (tmp_path / "served").mkdir()
    content = np.random.default_rng(0).bytes(2**20)
    (tmp_path / "served" / "file").write_bytes(content)
    fill(disk)
    with (
        serving(tmp_path / "served") as url,
        pytest.raises(download.DownloadError, match="No space left on device"),
    ):
        download.fetch([f"{url}file"], hashlib.md5(content).hexdigest(), disk / "file")
    assert everything(disk) == ["filler"]


def test_concurrent_downloads_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    content = np.random.default_rng(0).bytes(2**22)
    (tmp_path / "served" / "file").write_bytes(content)
    target = tmp_path / "new" / "folder" / "file"
    with serving(tmp_path / "served") as url:
        arguments = ([f"{url}file"], hashlib.md5(content).hexdigest(), target)
        threads = [threading.Thread(target=download.fetch, args=arguments) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert target.read_bytes() == content
    assert everything(target.parent) == ["file"]
