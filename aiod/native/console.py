"""A terminal of a container, handed to another process or joined to one's own.

Owns the copying between two terminals; must not know containers.
"""

import array
import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import termios
import tty
from collections.abc import Iterator

from aiod.native.errors import NativeError

_CHUNK = 65536


def send(path: str, console: int) -> None:
    """Send the master side over the Unix socket at `path`, as runc's `--console-socket` does.

    Raises NativeError.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(path)
            name = os.readlink(f"/proc/self/fd/{console}").encode()
            rights = array.array("i", [console])
            connection.sendmsg([name], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    except OSError as error:
        raise NativeError(f'send the terminal to "{path}"', error.errno or 0) from error


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    if not os.isatty(terminal):
        yield
        return
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def copy_size(console: int) -> None:
    """Give the console the size of our terminal, if we have one."""
    with contextlib.suppress(OSError):
        size = fcntl.ioctl(sys.stdin.fileno(), termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        fcntl.ioctl(console, termios.TIOCSWINSZ, size)


def relay(console: int) -> None:
    """Copy between our standard streams and `console` until its last user is gone."""
    previous = signal.signal(signal.SIGWINCH, lambda *_: copy_size(console))
    copy_size(console)
    sources = [console, 0]
    try:
        with _raw(0):
            while console in sources:
                for ready in select.select(sources, [], [])[0]:
                    if not _copy(ready, 1 if ready == console else console):
                        sources.remove(ready)
    finally:
        signal.signal(signal.SIGWINCH, previous)


def _copy(source: int, target: int) -> bool:
    """Pass on what there is; False at the end."""
    try:
        data = os.read(source, _CHUNK)
    except OSError:  # EIO: nobody has the other side open any more
        return False
    if not data:
        return False
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return True
