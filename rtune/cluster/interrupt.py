"""Ctrl-C, SIGTERM, a closed terminal: the first ends the launch in order, the second ends it immediately."""

import contextlib
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
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as `nohup` has it
            signals.append(signal.SIGHUP)
        self._before = {number: signal.getsignal(number) for number in signals}
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
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(self.screen, _MESSAGE)
