"""Filling an empty volume with what an image has in its place: whole, or not at all.

Content is put together in a directory of its own, gets a name that says it is whole, and is
then moved into the volume entry by entry; whoever finds that name finishes the moving. Blocking.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from aiod import failpoints
from aiod.images.files import sync_directory, sync_file_system

Fill = Callable[[Path], None]

COPIED = failpoints.declare("volume.copied")
MOVING = failpoints.declare("volume.copy-moving")

_PARTIAL, _WHOLE = "partial", "whole"
_PREFIX = ".aiod-copy-"  # in the volume itself: what is mounted there may be another file system


def is_empty(data: Path) -> bool:
    """Whether there is nothing in it, but for what is on its way in."""
    with os.scandir(data) as entries:
        return all(entry.name.startswith(_PREFIX) for entry in entries)


def fill(data: Path, content: Fill) -> None:
    """Copy into an empty volume; `content` makes the directory it is given, and fills it.

    Raises OSError, and then the volume is as before.
    """
    partial, whole = _place(data, _PARTIAL), _place(data, _WHOLE)
    try:
        content(partial)
        if os.listdir(partial):
            sync_file_system(partial)
        failpoints.reach(COPIED)
        partial.rename(whole)
        sync_directory(data)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _move(whole, data)


def fill_if_empty(data: Path, content: Fill) -> None:
    """Copy into a volume that may have been filled, or half so, by others."""
    finish(data)
    if is_empty(data):
        fill(data, content)


def finish(data: Path) -> None:
    """Do what a dead daemon did not live to do."""
    shutil.rmtree(_place(data, _PARTIAL), ignore_errors=True)
    whole = _place(data, _WHOLE)
    if whole.is_dir():
        _move(whole, data)


def _place(data: Path, state: str) -> Path:
    return data / f"{_PREFIX}{state}"


def _move(whole: Path, data: Path) -> None:
    status = whole.stat()
    for name in os.listdir(whole):
        os.rename(whole / name, data / name)
        failpoints.reach(MOVING)
    _dress(whole, data)
    whole.rmdir()
    # Last: each entry that comes or goes touches it.
    os.utime(data, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _dress(source: Path, target: Path) -> None:
    """The volume's own directory is as the image's: owner, mode and extended attributes."""
    status = source.stat()
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, status.st_mode & 0o7777)
    for key in os.listxattr(source):
        os.setxattr(target, key, os.getxattr(source, key))
