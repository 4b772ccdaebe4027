"""Tells a running shim that the files of its network have changed.

Owns the conversation: a signal, and a file in which the shim says how it went. Must not know
what is in the files.
"""

import asyncio
import contextlib
import os
import signal
from errno import ESRCH, ETIMEDOUT
from pathlib import Path

from aiod.native import proc
from aiod.native.errors import NativeError
from aiod.native.network import texts

_PAUSES = (0.001, 0.05)  # seconds: the first, and the longest


async def reload(run: Path, pid: int, start_time: int, *, timeout: float = 10.0) -> None:
    """Have the shim of a run directory read them again, and wait until it has.

    One at a time for each shim. Raises NativeError with the shim's own step, or if it is gone.
    """
    outcome = run / texts.OUTCOME_FILE
    await asyncio.to_thread(outcome.unlink, missing_ok=True)
    _signal(pid, start_time)
    try:
        async with asyncio.timeout(timeout):
            number, step = texts.outcome(await _said(outcome, pid, start_time))
    except TimeoutError:
        raise NativeError("tell the shim of its network", ETIMEDOUT) from None
    if number:
        raise NativeError(step, number)


def _signal(pid: int, start_time: int) -> None:
    """SIGHUP, which shims of every release survive. Raises NativeError."""
    try:
        process = os.pidfd_open(pid)
    except OSError as error:
        raise NativeError("find the shim", error.errno or ESRCH) from None
    try:
        if not proc.is_same(pid, start_time):
            raise NativeError("find the shim", ESRCH)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGHUP)
    finally:
        os.close(process)


async def _said(outcome: Path, pid: int, start_time: int) -> str:
    pause, longest = _PAUSES
    while True:
        with contextlib.suppress(FileNotFoundError):
            return await asyncio.to_thread(outcome.read_text)
        if not proc.is_same(pid, start_time):
            raise NativeError("find the shim", ESRCH)
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)
