"""Paths below a directory that is taken for the root, whatever links and races are there.

openat2(2) with RESOLVE_IN_ROOT: the kernel itself keeps every `..` and every link, relative or
absolute, inside, also while somebody renames what is on the way; mounts below are entered.
Everything is opened first and changed through the descriptor. Blocking; must not know containers.
"""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_OPENAT2 = 437  # the same number on every architecture, as of all calls since Linux 5.0
_RESOLVE_IN_ROOT, _RESOLVE_NO_MAGICLINKS = 0x10, 0x02
_HOW = struct.Struct("QQQ")
_AGAIN = 64  # EAGAIN: something on the way was renamed meanwhile
_libc = ctypes.CDLL(None, use_errno=True)

DIRECTORY = os.O_DIRECTORY | os.O_RDONLY
PATH = getattr(os, "O_PATH", 0o10000000)
NOFOLLOW = os.O_NOFOLLOW


def open_in(root: int, path: bytes, flags: int) -> int:
    """A descriptor of `path` below `root`; links are followed, the last one unless NOFOLLOW.

    Raises OSError naming the path.
    """
    relative = path.lstrip(b"/") or b"."
    how = _HOW.pack(flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    for _ in range(_AGAIN):
        found = int(
            _libc.syscall(ctypes.c_long(_OPENAT2), root, relative, how, ctypes.c_size_t(_HOW.size))
        )
        number = ctypes.get_errno()
        if found >= 0:
            return found
        if number not in (11, 4):  # EAGAIN, EINTR
            break
    raise OSError(number, os.strerror(number), os.fsdecode(path))


@contextmanager
def opened(root: int, path: bytes, flags: int) -> Iterator[int]:
    """As `open_in`, closed at the end."""
    descriptor = open_in(root, path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def real_path(root: int, path: bytes) -> bytes:
    """Where `path` leads below `root`, all links followed, with a slash in front."""
    with opened(root, path, PATH) as found:
        top = os.readlink(f"/proc/self/fd/{root}")
        place = os.readlink(f"/proc/self/fd/{found}")
    if top != "/" and place.startswith(top):
        place = place[len(top) :]
    return os.fsencode("/" + place.lstrip("/"))


def place_of(descriptor: int) -> str:
    """A name of what is opened, also by PATH, for calls that take no descriptor."""
    return f"/proc/self/fd/{descriptor}"
