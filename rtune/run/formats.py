"""Runs and checkpoints of earlier formats, read as if today's version had written them.

Files on disk stay as they are. The number of a run's format, its *schema*, is `provenance.schema` in its
search.yaml. A resume appends records of today's schema to the same log, so a conversion only adds what a
record lacks. What was added since the first format, with the commit:

    schema 1    c4ebe67  the first
                7b13fe8  search.yaml: search.early_stopping.brackets; other rungs and quotas
                ac0835a  evaluation: device, torch
                be50648  epoch, promote: rung_quota
    schema 2    5c93f6c  launch: max_epochs, rungs, search, data; checkpoints of format 2: the metrics of all
                         epochs in place of those of the last one
                15d45b8  launch: train_images, validation_images
    schema 3    41f864e  epoch, checkpoint: images
    schema 4    30b1265  launch: command
                ead24a7  launch: asked

Nothing was renamed or removed. Other settings that were added to search.yaml have defaults that keep the
behaviour of then (`rtune.config.saved`). The tensors of a checkpoint have kept their names.
"""

from collections.abc import Collection
from typing import Any

from rtune.config.spec import Spec
from rtune.run import changes, schema

OLDEST = 1
Record = dict[str, Any]

# Images to train on and to measure on. Only these data sets existed before launches recorded the numbers.
SPLITS = {
    "digits": (1_077, 360),
    "fashion-mnist": (54_000, 6_000),
    "cifar10": (45_000, 5_000),
    "cifar100": (45_000, 5_000),
}
# More epochs than any training has: a limit for what a checkpoint's header may claim.
_MOST_EPOCHS = 1_000_000


def is_known(version: object) -> bool:
    """Whether results of this schema can be read."""
    return type(version) is int and OLDEST <= version <= schema.VERSION


def rounds_up(tree: dict[str, Any], version: int | None) -> bool:
    """Whether a saved search file is of a version that rounded rungs and quotas up: before brackets."""
    early = _section(_section(tree, "search"), "early_stopping")
    return version == 1 and bool(early) and "brackets" not in early


def search_file(tree: dict[str, Any], version: int | None) -> dict[str, Any]:
    """The content of a saved search file of a schema, as one of today; `tree` is unchanged."""
    if not rounds_up(tree, version) or tree["search"]["early_stopping"].get("grace") is not None:
        return tree
    search = tree["search"]
    early = search["early_stopping"]
    max_epochs, eta = _section(tree, "training").get("max_epochs"), early.get("eta")
    if not isinstance(max_epochs, int) or not isinstance(eta, int) or eta < 1:
        return tree  # damaged: the check of the search file will name the field
    grace = -(-max_epochs // eta**2)
    return tree | {"search": search | {"early_stopping": early | {"grace": grace}}}


class Converter:
    """Converts the records of one log, in their order.

    Args:
        version: schema of the run; today's for a log without a run folder.
        spec: the run's search file; needed for schemas before today's.
        rounds_up: whether the quotas of this run were rounded up (`rounds_up`).
    """

    def __init__(
        self, version: int = schema.VERSION, spec: Spec | None = None, rounds_up: bool = False
    ) -> None:
        self._version = version
        self._spec = spec
        self._rounds_up = rounds_up
        self._images = None if spec is None else SPLITS.get(spec.file.data.dataset)

    def __call__(self, record: Record, known: Collection[str]) -> Record:
        """A record as today's version would have written it; the same object if nothing is missing.

        Args:
            record: a record with a `kind` of `rtune.run.schema.RECORDS`, not checked otherwise.
            known: ids of the trials of the records before it.

        Raises:
            TypeError, ValueError: the record is damaged.
        """
        kind = record["kind"]
        if kind in ("evaluation", "diagnosis"):  # columns that were added later are null
            return dict.fromkeys(schema.RECORDS[kind].names) | record
        if kind == "launch":
            return self._launch(record, known)
        if self._version == 1 and kind in ("epoch", "promote"):
            record = self._with_quota(record)
        if self._version < 3 and kind == "epoch" and "images" not in record and self._images is not None:
            record = record | {"images": self._images[1]}  # all validation images in each epoch
        return record

    def _launch(self, record: Record, known: Collection[str]) -> Record:
        record = {"asked": ""} | record
        if self._version < 4:
            # A launch of `rtune replicate` is told by its records (`rtune.run.ledger`).
            record = {"command": "resume" if known else "search"} | record
        if self._spec is not None and self._version == 1:
            record = _first_launch(self._spec) | record
        if self._version < 3:
            counts = ("train_images", "validation_images")
            if self._images is not None:
                record = dict(zip(counts, self._images, strict=True)) | record
            train, validation = (record.get(name) for name in counts)
            if isinstance(train, int) and isinstance(validation, int):
                self._images = (train, validation)
        return record

    def _with_quota(self, record: Record) -> Record:
        """Adds how many of a rung could continue: size / eta, at least 1."""
        early = None if self._spec is None else self._spec.search.early_stopping
        size = record.get("rung_size")
        if early is None or type(size) is not int or "rung_quota" in record:
            return record
        quota = -(-size // early.eta) if self._rounds_up else size // early.eta
        return record | {"rung_quota": max(1, quota)}


def _section(tree: dict[str, Any], name: str) -> dict[str, Any]:
    found = tree.get(name)
    return found if isinstance(found, dict) else {}


def _first_launch(spec: Spec) -> Record:
    """What launches of schema 1 did not record: search.yaml decided, and no launch could change it.

    The digest of the images is empty: it is not known.
    """
    early = spec.search.early_stopping
    return {
        "max_epochs": spec.max_epochs,
        "rungs": [] if early is None else early.levels(spec.max_epochs),
        "search": changes.fixed(spec),
        "data": "",
    }


def checkpoint_header(header: Record) -> Record:
    """The header of a checkpoint of format 1 as one of format 2.

    A file of format 1 has the metrics of its own epoch only; those of the others are empty.

    Raises:
        ValueError: the header is damaged.
    """
    epoch, metrics = header.get("epoch"), header.get("metrics")
    if type(epoch) is not int or not 1 <= epoch <= _MOST_EPOCHS or not isinstance(metrics, dict):
        raise ValueError("its epoch or its metrics are not valid")
    kept = {name: value for name, value in header.items() if name not in ("epoch", "metrics")}
    return kept | {"format": 2, "history": [*([{}] * (epoch - 1)), metrics]}


def history(saved: list[Any], images: int) -> list[Any]:
    """The metrics in a checkpoint's header, with the number of images that is missing before schema 3.

    Args:
        saved: the metrics of each epoch; empty where they are not known.
        images: number of validation images; all were used then.
    """
    return [{"images": images} | old if isinstance(old, dict) and old else old for old in saved]
