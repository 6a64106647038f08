"""Time in which this process has run, without the time for which it or its machine was stopped.

Ctrl-Z, a debugger, a container that is frozen or a virtual machine that is suspended stop a process, while
`time.monotonic` may go on.
"""

import functools
import threading
import time

# A thread of a running process is late by less than this, in seconds.
_LONGEST = 10.0
_PERIOD = 1.0


class RunningTime:
    """Adds up the seconds between calls of `now`, each gap up to `longest`: a longer one was a stop.

    Args:
        longest: seconds. Whatever uses an object calls it more often than this.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._seconds = 0.0
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since the object was made in which its user has run."""
        with self._lock:
            now = time.monotonic()
            self._seconds += min(max(now - self._last, 0.0), self._longest)
            self._last = now
            return self._seconds


def running() -> float:
    """Seconds that this process has run since the first call. A stop counts as ten seconds at most."""
    return _of_process().now()


@functools.cache
def _of_process() -> RunningTime:
    clock = RunningTime(_LONGEST)

    def keep() -> None:
        while True:
            time.sleep(_PERIOD)
            clock.now()

    threading.Thread(target=keep, name="rtune-clock", daemon=True).start()
    return clock
