"""File trees as values, and overlay mounts to look at them: for comparing what engines unpack.

Must not know engines. Needs root.
"""

import contextlib
import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_RECENT = 1_750_000_000  # seconds: no test's archive has a later time


@dataclass(frozen=True, slots=True)
class Node:
    """One file as a container would see it; `same_as` names the first hard link to it.

    `mtime_ns` is 0 for what was touched while unpacking, and for the root.
    """

    kind: str
    mode: int
    owner: tuple[int, int]
    mtime_ns: int
    device: int
    size: int
    content: str
    xattrs: tuple[tuple[str, bytes], ...]
    same_as: bytes


@contextlib.contextmanager
def mounted(layers: Sequence[Path], at: Path) -> Iterator[bytes]:
    """The read-only overlay of `layers`, the topmost first; one layer is looked at as it is."""
    at.mkdir(exist_ok=True)
    empty = at.with_name(at.name + "-empty")
    empty.mkdir(exist_ok=True)
    lower = ":".join([*map(str, layers), str(empty)])
    command = ["mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lower}", str(at)]
    subprocess.run(command, check=True, timeout=30)
    try:
        yield os.fsencode(at)
    finally:
        subprocess.run(["umount", str(at)], check=True, timeout=30)


def snapshot(root: bytes) -> dict[bytes, Node]:
    """Every file below `root`, by its path relative to it; `.` is the root itself."""
    seen: dict[tuple[int, int], bytes] = {}
    found = {b".": _node(root, b".", seen)}
    for directory, names, files in os.walk(root):
        for name in sorted([*names, *files]):
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, root)
            found[relative] = _node(path, relative, seen)
    return found


def _node(path: bytes, relative: bytes, seen: dict[tuple[int, int], bytes]) -> Node:
    status = os.lstat(path)
    directory = stat.S_ISDIR(status.st_mode)
    identity = (status.st_dev, status.st_ino)
    first = relative if directory else seen.setdefault(identity, relative)
    return Node(
        kind=stat.filemode(status.st_mode)[0],
        mode=stat.S_IMODE(status.st_mode),
        owner=(status.st_uid, status.st_gid),
        mtime_ns=0 if status.st_mtime > _RECENT or relative == b"." else status.st_mtime_ns,
        device=status.st_rdev,
        size=0 if directory else status.st_size,
        content=_content(path, status.st_mode),
        xattrs=_xattrs(path),
        same_as=first,
    )


def _content(path: bytes, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return os.fsdecode(os.readlink(path))
    if not stat.S_ISREG(mode):
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _xattrs(path: bytes) -> tuple[tuple[str, bytes], ...]:
    names = os.listxattr(path, follow_symlinks=False)
    return tuple(sorted((n, os.getxattr(path, n, follow_symlinks=False)) for n in names))
