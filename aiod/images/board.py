"""Many things under way at once, as the messages of one progress stream.

Owns the form of Docker's progress and its rate; must not know what is under way. What is
said comes in its order; of figures a slow reader sees the latest only.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

from aiod.images.model import ProgressDetail, ProgressMessage, Pushed

_PERIOD = 0.1  # seconds between two looks at the figures
_WIDTH = 50
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")

Figure = Callable[[], int]


class Board:
    """`say` and `gauge` are for those who work, `until` is for the stream."""

    def __init__(self) -> None:
        self._said: deque[ProgressMessage] = deque()
        self._news = asyncio.Event()
        self._gauges: list[_Gauge] = []

    def say(self, status: str, name: str = "", *, detail: bool = False) -> None:
        """One message; `detail` for those about something that has figures at other times."""
        empty = ProgressDetail() if detail else None
        self._put(ProgressMessage(status=status, id=name, progress_detail=empty))

    def conclude(self, pushed: Pushed) -> None:
        """The message for machines at the end of a push."""
        self._put(ProgressMessage(progress_detail=ProgressDetail(), aux=pushed))

    def _put(self, message: ProgressMessage) -> None:
        self._said.append(message)
        self._news.set()

    @contextlib.contextmanager
    def gauge(self, status: str, name: str, total: int, figure: Figure) -> Iterator[None]:
        """Inside, `figure` is looked at and told whenever it has changed."""
        gauge = _Gauge(status, name, total, figure)
        self._gauges.append(gauge)
        try:
            yield
            self._said.extend(gauge.read())
        finally:
            self._gauges.remove(gauge)

    async def until(self, task: "asyncio.Task[Any]") -> AsyncGenerator[ProgressMessage, None]:
        """The messages until the task is done, then those left; its outcome is the caller's."""
        task.add_done_callback(lambda _: self._news.set())
        while True:
            over = task.done()
            while self._said:
                yield self._said.popleft()
            for gauge in list(self._gauges):
                for message in gauge.read():
                    yield message
            if over:
                return
            self._news.clear()
            if not (self._said or task.done()):
                await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), _PERIOD)


class _Gauge:
    def __init__(self, status: str, name: str, total: int, figure: Figure) -> None:
        self._status, self._name, self._total, self._figure = status, name, total, figure
        self._told = 0

    def read(self) -> Iterator[ProgressMessage]:
        current = self._figure()
        if current != self._told:
            self._told = current
            yield ProgressMessage(
                status=self._status,
                id=self._name,
                progress_detail=ProgressDetail(current, self._total),
                progress=bar(current, self._total),
            )


def bar(current: int, total: int) -> str:
    """Docker's progress bar, for those clients that draw none themselves."""
    if total <= 0:
        return f"{human(current):>8}"
    done = min(current * 100 // total // 2, _WIDTH)
    figures = f"{human(current):>8}" + (f"/{human(total)}" if current <= total else "")
    return f"[{'=' * done}>{' ' * (_WIDTH - done)}] {figures}"


def human(size: int) -> str:
    """Bytes in decimal units with four digits, as Docker's `HumanSize`."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.4g}{_UNITS[unit]}"
