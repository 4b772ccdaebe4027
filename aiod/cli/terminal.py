"""This process's own standard streams and its terminal.

Owns raw mode and putting it back, the window's size, and reading and writing that never
blocks the loop and never sets O_NONBLOCK, which a shell would inherit. Must not know the
engine.
"""

import asyncio
import contextlib
import errno
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aiod.cli.errors import HangupError

STDIN, STDOUT, STDERR = 0, 1, 2
_PIECE = select.PIPE_BUF  # what a pipe that is ready surely takes


@dataclass(frozen=True, slots=True)
class Size:
    """A window in characters."""

    rows: int
    columns: int


def is_terminal(descriptor: int) -> bool:
    """Whether it is a terminal; False too for a closed descriptor."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def window_size() -> Size | None:
    """The size of the terminal on standard output or input; None without one."""
    for descriptor in (STDOUT, STDIN):
        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(descriptor)
            if rows and columns:
                return Size(rows, columns)
    return None


@contextlib.contextmanager
def raw_mode(descriptor: int = STDIN) -> Iterator[None]:
    """Pass every key on as it is typed; the terminal is put back on every way out."""
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSANOW)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


async def read(descriptor: int) -> bytes:
    """What is there next, empty at the end; HangupError when the terminal is gone."""
    await _ready(descriptor, for_writing=False)
    try:
        return os.read(descriptor, 65536)
    except OSError as error:
        if error.errno == errno.EIO:
            raise HangupError from None
        raise


async def write(descriptor: int, data: bytes) -> None:
    """Write all of it, letting the loop run while the reader is slow.

    Raises BrokenPipeError when nobody reads any more, HangupError when the terminal is gone.
    """
    view = memoryview(data)
    while view:
        if not select.select([], [descriptor], [], 0)[1]:
            await _ready(descriptor, for_writing=True)
        try:
            view = view[os.write(descriptor, view[:_PIECE]) :]
        except OSError as error:
            if error.errno == errno.EIO and is_terminal(descriptor):
                raise HangupError from None
            raise


async def _ready(descriptor: int, *, for_writing: bool) -> None:
    """Wait until it can be used; epoll knows no plain files, which are always ready."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[None] = loop.create_future()
    add: Callable[..., None] = loop.add_writer if for_writing else loop.add_reader
    try:
        add(descriptor, _wake, waiting)
    except PermissionError:
        return
    try:
        await waiting
    finally:
        (loop.remove_writer if for_writing else loop.remove_reader)(descriptor)


def _wake(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


def discard_output() -> None:
    """Nobody reads standard output: keep the interpreter from complaining of it at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, STDOUT)
    os.close(null)
    sys.stdout.flush()
