"""The signals a command gets: by default they end it, quietly and with everything put back.

A command that forwards signals takes them over for a while. Must not know what a command does.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FORWARDED = (*ENDING, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_PATIENCE = 3  # interrupts that were forwarded in vain until one ends the command itself


class Signals:
    """What the signals of this process do, on one running loop."""

    def __init__(self, main: "asyncio.Task[int]") -> None:
        self._main = main
        self._loop = asyncio.get_running_loop()
        self.status: int | None = None
        self._end_on_signals()

    def _end_on_signals(self) -> None:
        for number in ENDING:
            self._loop.add_signal_handler(number, self._end, number)

    def _end(self, number: int) -> None:
        self.status = 128 + number
        self._main.cancel()

    def close(self) -> None:
        """The command is at its end: an impatient user's next signal must not garble that."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)

    @contextlib.contextmanager
    def taken_over(self, forward: Callable[[signal.Signals], None]) -> Iterator[None]:
        """Give every signal to `forward`; the third interrupt ends the command all the same."""
        interrupts = 0

        def received(number: signal.Signals) -> None:
            nonlocal interrupts
            interrupts += number in (signal.SIGINT, signal.SIGTERM)
            if interrupts >= _PATIENCE:
                self._end(number)
            else:
                forward(number)

        for number in FORWARDED:
            self._loop.add_signal_handler(number, received, number)
        try:
            yield
        finally:
            self._end_on_signals()
            for number in set(FORWARDED) - set(ENDING):
                self._loop.remove_signal_handler(number)

    @contextlib.contextmanager
    def on_resize(self, resized: Callable[[], None]) -> Iterator[None]:
        """Call `resized` whenever the terminal's window changes."""
        self._loop.add_signal_handler(signal.SIGWINCH, resized)
        try:
            yield
        finally:
            self._loop.remove_signal_handler(signal.SIGWINCH)
