"""Small file operations that both stores need. Everything here blocks."""

import ctypes
import logging
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from aiod.errors import InternalError

logger = logging.getLogger(__name__)
_libc = ctypes.CDLL(None, use_errno=True)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> None:
    """syncfs(2): one call instead of an fsync for each of a tree's thousands of files."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise InternalError(f"syncfs {path}: {os.strerror(number)}")
    finally:
        os.close(descriptor)


def write_all(file: IO[bytes], data: bytes | bytearray) -> None:
    """Write all of `data` to an unbuffered file, which may take less at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def discard(paths: Iterable[Path]) -> None:
    """Delete files and trees nobody needs; what resists is logged and left for next time."""
    for path in paths:
        try:
            if stat.S_ISDIR(path.lstat().st_mode):
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.warning("cannot delete %s: %s", path, error.strerror)
