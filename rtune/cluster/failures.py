"""What to do about a failure: retry the trial, exclude a machine, or end the launch."""

import re
from dataclasses import dataclass, field

from rtune.worker import machine

# A launch ends when its first trials, this many, have all failed for good with the same kind of error.
FIRST_TRIALS = 3
# Ray's messages about a lost machine or network, which is not the trial's fault.
_MACHINE_LOST = re.compile(
    r"^the (actor|worker|node)\b.*(node (has )?died|owner has died|terminated|preempt|is unavailable)", re.I
)

# Ray's message about an actor that could not be imported, with the machine and the error.
_NOT_IMPORTED = "failed to import on the worker"
_ADDRESS = re.compile(r"^\s*ip: (\S+)$", re.M)
_IMPORT_ERROR = re.compile(r"^(\w+Error: .+)$", re.M)


@dataclass
class FailurePolicy:
    """Decides what the failures of one launch lead to.

    Attributes:
        max_failures: how often a trial is retried without completing another epoch.
    """

    max_failures: int
    _failures: dict[str, int] = field(default_factory=dict)
    _final: list[str] = field(default_factory=list)
    _any_progress: bool = False

    def record_progress(self, trial: str) -> None:
        """A trial has completed an epoch: the count of its failures starts again."""
        self._any_progress = True
        self._failures.pop(trial, None)

    def may_retry(self, trial: str, error: str) -> bool:
        """Counts a failure of a trial; whether the trial is to be retried."""
        if not _MACHINE_LOST.search(error):
            self._failures[trial] = self._failures.get(trial, 0) + 1
        return self._failures.get(trial, 0) <= self.max_failures

    def record_final_failure(self, error: str) -> str | None:
        """A trial has failed for good; a sentence if the launch should end because all others would too."""
        self._final.append(error)
        if self._any_progress or len(self._final) < FIRST_TRIALS or len(set(map(_kind, self._final))) > 1:
            return None
        return (
            f"the first {len(self._final)} trials have all failed in the same way "
            f"and none has trained an epoch ({error})"
        )


def _kind(error: str) -> str:
    """The kind of error that a line names: its text before the first colon, without numbers."""
    return re.sub(r"[\d./]+", "", error.partition(":")[0])


def faulty_machine(trace: str) -> tuple[str, str] | None:
    """Which machine (Ray node id or address) caused a worker's traceback, and the reason.

    None if the machine is not the cause.
    """
    if (found := machine.parse_unfit(last_line(trace))) is not None:
        return found
    _, mark, after = trace.partition(_NOT_IMPORTED)
    address, error = _ADDRESS.search(trace), _IMPORT_ERROR.search(after)
    return (address[1], machine.import_failed_message(error[1])) if mark and address and error else None


def last_line(trace: str) -> str:
    """The line of a traceback that names the error."""
    return trace.strip().rpartition("\n")[2].strip()


def readable(line: str) -> str:
    """The last line of a Ray trial's error, shortened: Ray's message on a dead worker fills a page."""
    if "worker process has died" in line:
        return "its worker process died: killed, out of memory, or ended by its own code"
    return line[:500]
