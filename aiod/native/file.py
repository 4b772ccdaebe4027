"""A whole small file in one system call's trouble.

Threads that make thousands of files would otherwise wait for each other between any two of
the calls that each file takes. Must not know what the files are for. Blocks.
"""

import os

from aiod.native._native import lib


def make_file(
    directory: int, name: bytes, data: bytes, owner: tuple[int, int], mode: int, mtime_ns: int
) -> int:
    """Create a regular file in an open directory; returns its inode.

    `name` is one component without a zero byte. Raises FileExistsError, having done nothing,
    or another OSError, and then the file may be there.
    """
    seconds, nanoseconds = divmod(mtime_ns, 1_000_000_000)
    inode = int(
        lib.aiod_file_make(directory, name, data, len(data), *owner, mode, seconds, nanoseconds)
    )
    if inode < 0:
        raise OSError(-inode, os.strerror(-inode))
    return inode
