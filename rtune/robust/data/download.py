"""Downloads of published files: whole and checked, or not at all."""

import contextlib
import hashlib
import http.client
import os
import sys
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from rtune import __version__
from rtune.robust.data.errors import DataError, MissingDataError

# Seconds without an answer, or without any further byte, after which a server is given up.
_SECONDS = 15.0
_CHUNK = 2**20


class DownloadError(Exception):
    """A file could not be downloaded; the message is the reason."""


def fetch(urls: Sequence[str], md5: str, target: Path) -> None:
    """Downloads a file, which appears under its name only when it is whole and has the right checksum.

    So processes that download the same file at the same time do not disturb each other, and a full disk or a
    broken connection leaves nothing. The folder is made once a server has answered.

    Args:
        urls: where it is published, tried in this order.
        md5: of its bytes, in hexadecimal.
        target: where it is to be.

    Raises:
        DownloadError: from no URL.
    """
    reasons = []
    for url in urls:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": f"rtune/{__version__}"})
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                if sys.stderr.isatty():
                    print(f"downloading {url}", file=sys.stderr)
                _store(answer, md5, target)
                return
        except (OSError, http.client.HTTPException, ValueError) as error:
            reasons.append(f"{url}: {' '.join(str(error).split())}")
    raise DownloadError("; ".join(reasons))


def _store(answer: IO[bytes], md5: str, target: Path) -> None:
    """Writes an answer's bytes to a file of another name, which is renamed if their MD5 is right."""
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest, count = hashlib.md5(usedforsecurity=False), 0
        with open(part, "xb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                count += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != md5:
            raise OSError(f"the {count:,} bytes received are not the published file: their MD5 differs")
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        for folder in made:  # the innermost first; one that is in use by now stays
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def missing(name: str, folder: Path) -> MissingDataError:
    """The error for files that are not in a folder and may not be downloaded."""
    return MissingDataError(f"{name} is not in {folder}, and downloading is off")


def failed(name: str, folder: Path, error: DownloadError) -> DataError:
    """The error for files that are not in a folder and could not be downloaded."""
    return DataError(
        f"{name} is not in {folder} and could not be downloaded ({error}); put its files there, or set "
        "data.folder to their folder"
    )
