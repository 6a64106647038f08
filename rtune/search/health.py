"""Tells a trial that breaks from a search in which everything does."""

import re
from typing import Any

# A launch ends when its first trials, so many, have all failed for good in the same way.
FIRST = 3


class Health:
    """Judges failures of one launch.

    Args:
        max_failures: times a trial is tried again without getting an epoch further.
    """

    def __init__(self, max_failures: int) -> None:
        self._max_failures = max_failures
        self._well = False
        self._errors: list[str] = []

    def progressed(self, trial: Any) -> None:
        """A Ray Tune trial has got an epoch further: from here on it has all its retries again."""
        self._well = True
        trial.max_failures = trial.num_failures + self._max_failures

    def failed(self, error: str) -> str | None:
        """A trial has failed for good; a sentence if that means that the others will too."""
        self._errors.append(error)
        if self._well or len(self._errors) < FIRST or len(set(map(_kind, self._errors))) > 1:
            return None
        return (
            f"the first {len(self._errors)} trials have all failed in the same way "
            f"and none has trained an epoch ({error})"
        )


def _kind(error: str) -> str:
    """What kind of error a line names: its words up to the first colon, without numbers."""
    return re.sub(r"[\d./]+", "", error.partition(":")[0])
