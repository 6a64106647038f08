"""Ctrl-C and SIGTERM: the first ends the launch in order, the second at once."""

import os
import signal
from types import FrameType

_WORDS = b"\nstopping: trials are cut after their last finished epoch; once more to stop at once\n"


class Interrupt:
    """Context that turns signals into a request, told at once to whoever sent it.

    Attributes:
        requested: whether a signal has come. A second one raises KeyboardInterrupt.
        screen: file descriptor of standard error as it was on entry.
    """

    requested = False

    def __enter__(self) -> "Interrupt":
        self.screen = os.dup(2)  # standard error may be diverted when a signal comes
        self._before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        self.listen()
        return self

    def listen(self) -> None:
        """Takes the signals (again: Ray, when it starts, puts a handler of its own)."""
        for number in self._before:
            signal.signal(number, self._take)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.screen)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        os.write(self.screen, _WORDS)
