"""Trying a system call without consequences: in a child process of its own.

Owns the fork, the few calls that Python has no name for, and how a child tells what failed.
Sources: unshare(2), mount(2), syscall(2) for the numbers, the same on every architecture since
the calls of 2019.
"""

import ctypes
import os
import signal
from collections.abc import Callable

from aiod.doctor.findings import AbsentError

Attempt = Callable[[], str]
_SECONDS = 10  # a child that hangs longer is ended by its alarm
_libc = ctypes.CDLL(None, use_errno=True)

MS_REC, MS_PRIVATE = 0x4000, 1 << 18
MOUNT_SETATTR, CLONE3, FSOPEN, FSCONFIG = 442, 435, 430, 431


def check(result: int, what: str) -> int:
    """Raise OSError naming `what` for a C call's -1."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int, what: str) -> None:
    """unshare(2)."""
    check(_libc.unshare(flags), what)


def mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    """mount(2)."""
    encoded = [text.encode() for text in (source, target, kind)]
    check(_libc.mount(*encoded, ctypes.c_ulong(flags), data.encode()), f"mount {kind or target}")


def syscall(number: int, *arguments: int | bytes | None) -> int:
    """syscall(2); returns -errno on failure."""
    converted = [
        ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value)
        for value in arguments
    ]
    _libc.syscall.restype = ctypes.c_long
    result = int(_libc.syscall(ctypes.c_long(number), *converted))
    return result if result >= 0 else -ctypes.get_errno()


def in_child(attempt: Attempt) -> str:
    """Run `attempt` in a forked child: its words, or AbsentError with those of its failure."""
    read, write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _try(attempt, write)
    os.close(write)
    try:
        said = b""
        while chunk := os.read(read, 65536):
            said += chunk
    finally:
        os.close(read)
        _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        raise AbsentError(f"the attempt was ended by {signal.Signals(-code).name}")
    if code != 0:
        raise AbsentError(said.decode())
    return said.decode()


def _try(attempt: Attempt, write: int) -> None:
    code = 1
    try:
        signal.alarm(_SECONDS)
        said = attempt()
        code = 0
    except OSError as error:
        said = str(error.strerror or error)
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    os.write(write, said.encode())
    os._exit(code)
