"""Ctrl-C and SIGTERM: the first ends the launch in an orderly way, the second ends it immediately."""

import os
import signal
from types import FrameType

_MESSAGE = b"\nstopping: every finished epoch is kept; interrupt again to stop immediately\n"


class Interrupt:
    """Context that turns a signal into a request to stop, and confirms it on the screen.

    Attributes:
        requested: whether a signal has come. A second one raises KeyboardInterrupt.
        screen: file descriptor of standard error as it was on entry.
    """

    requested = False

    def __enter__(self) -> "Interrupt":
        self.screen = os.dup(2)  # standard error may be redirected when a signal comes
        self._before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        self.listen()
        return self

    def listen(self) -> None:
        """Installs the signal handlers; again after Ray has started, which installs its own."""
        for number in self._before:
            signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self.screen)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        os.write(self.screen, _MESSAGE)
