"""Tells the user why a launch waits for a store."""

import threading
import time
from collections.abc import Callable

Report = Callable[[str], None]  # takes a sentence for the user

# Seconds between two reports.
_INTERVAL = 60.0


class WaitReporter:
    """Reports why a launch waits, once per outage for all threads."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._reported = -_INTERVAL

    def report_wait(self, why: str) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._reported < _INTERVAL:
                return
            self._reported = now
        self._report(why)
