"""How far a thread has got, as messages for a progress stream.

Must not know what is done. A slow reader of the stream sees fewer messages, nothing waits.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from aiod.images.model import ProgressDetail, ProgressMessage

_PERIOD = 0.1  # seconds between two messages


class Meter:
    """`reach` is called in the thread; `until` tells what it said last."""

    def __init__(self, status: str, name: str, total: int) -> None:
        self._status = status
        self._name = name
        self._total = total
        self._current = 0

    def reach(self, current: int) -> None:
        """The thread is at `current` bytes."""
        self._current = current

    async def until(self, task: "asyncio.Task[Any]") -> AsyncGenerator[ProgressMessage, None]:
        """A message whenever there is progress, and a last one, if there was any at all."""
        told = 0
        while not task.done():
            await asyncio.wait((task,), timeout=_PERIOD)
            if self._current != told:
                told = self._current
                yield self._message(told)

    def _message(self, current: int) -> ProgressMessage:
        detail = ProgressDetail(current, self._total)
        return ProgressMessage(status=self._status, id=self._name, progress_detail=detail)
