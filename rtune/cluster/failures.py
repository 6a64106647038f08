"""What a failure means: try the trial again, give it up, or give the launch up."""

import re
from dataclasses import dataclass, field

from rtune.worker import machine

# A launch ends when its first trials, so many, have all failed for good in the same way.
FIRST = 3
# Words of Ray's that stand for a lost machine or network: no trial is to blame.
_MACHINE = re.compile(
    r"^the (actor|worker|node)\b.*(node (has )?died|owner has died|terminated|preempt|is unavailable)", re.I
)

# And on an actor that could not be imported: that, where it was, the error that says why.
_NOT_IMPORTED = "failed to import on the worker"
_ADDRESS = re.compile(r"^\s*ip: (\S+)$", re.M)
_MISSING = re.compile(r"^(\w+Error: .+)$", re.M)


@dataclass
class Health:
    """Judges failures of one launch.

    Attributes:
        max_failures: times a trial is tried again without getting an epoch further.
    """

    max_failures: int
    _without_progress: dict[str, int] = field(default_factory=dict)
    _final: list[str] = field(default_factory=list)
    _well: bool = False

    def progressed(self, trial: str) -> None:
        """A trial has got an epoch further: from here on it has all its retries again."""
        self._well = True
        self._without_progress.pop(trial, None)

    def may_retry(self, trial: str, error: str) -> bool:
        """Whether a trial that has just broken is tried again."""
        if not _MACHINE.search(error):
            self._without_progress[trial] = self._without_progress.get(trial, 0) + 1
        return self._without_progress.get(trial, 0) <= self.max_failures

    def failed(self, error: str) -> str | None:
        """A trial has failed for good; a sentence if that means that the others will too."""
        self._final.append(error)
        if self._well or len(self._final) < FIRST or len(set(map(_kind, self._final))) > 1:
            return None
        return (
            f"the first {len(self._final)} trials have all failed in the same way "
            f"and none has trained an epoch ({error})"
        )


def _kind(error: str) -> str:
    """What kind of error a line names: its words up to the first colon, without numbers."""
    return re.sub(r"[\d./]+", "", error.partition(":")[0])


def unfit(trace: str) -> tuple[str, str] | None:
    """Machine, by id or address, and reason, where it is to blame for a worker's traceback, not the trial."""
    if (found := machine.unfit(last_line(trace))) is not None:
        return found
    _, mark, after = trace.partition(_NOT_IMPORTED)
    address, missing = _ADDRESS.search(trace), _MISSING.search(after)
    return (address[1], machine.cannot_run(missing[1])) if mark and address and missing else None


def last_line(trace: str) -> str:
    """The line of a traceback that names the error."""
    return trace.strip().rpartition("\n")[2].strip()


def words(line: str) -> str:
    """The last line of a Ray trial's error for a person; Ray's own words on a dead worker fill a page."""
    if "worker process has died" in line:
        return "its worker process died: killed, out of memory, or ended by its own code"
    return line[:500]
