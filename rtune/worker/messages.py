"""What a worker and the GPU host report about a trial, and how a report travels through Ray Tune."""

from dataclasses import dataclass
from typing import Any, Literal

_KEY = "message"


@dataclass(frozen=True)
class Note:
    """A sentence for the user about something unusual that needs no action.

    Attributes:
        text: the sentence.
        about: `trial`: it concerns this trial only. `gpu`: all trials of the same GPU would report the same.
    """

    text: str
    about: Literal["trial", "gpu"] = "trial"


@dataclass(frozen=True)
class Epoch:
    """An epoch was trained, measured and saved.

    Attributes:
        epoch: its number, from 1.
        metrics: name -> value (`rtune.run.schema.epoch`).
        notes: since the previous message.
    """

    epoch: int
    metrics: dict[str, Any]
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Waits:
    """The trial waits until its GPU has enough free memory."""

    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Diverged:
    """Training has diverged, which ends the trial; `reason` says how."""

    reason: str
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class StorageFailed:
    """A checkpoint could not be read or written on this machine; `reason` names the place and the error."""

    reason: str


@dataclass(frozen=True)
class Ended:
    """All epochs of the trial have been reported."""


@dataclass(frozen=True)
class NeedsData:
    """The GPU host has no images yet."""


# What a worker reports to the driver.
Report = Epoch | Waits | Diverged
# What the GPU host answers a worker.
Answer = Report | StorageFailed | Ended | NeedsData


def to_result(report: Report) -> dict[str, Any]:
    """As a result of Ray Tune, which has to be a dict."""
    return {_KEY: report}


def from_result(result: dict[str, Any]) -> Report:
    """The inverse of `to_result`; Ray Tune adds keys of its own to a result."""
    report: Report = result[_KEY]
    return report
