"""How much a directory tree holds on disk.

Blocking: call it in a thread.
"""

import os
from pathlib import Path


def disk_usage(root: Path) -> int:
    """Bytes of all files below `root`, hard links counted once; what vanishes counts 0."""
    seen: set[tuple[int, int]] = set()
    total = 0
    pending = [str(root)]
    while pending:
        try:
            entries = os.scandir(pending.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                size, identity = _size(entry)
                if identity not in seen:
                    seen.add(identity)
                    total += size
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return total


def _size(entry: "os.DirEntry[str]") -> tuple[int, tuple[int, int]]:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return 0, (0, 0)
    size = 0 if entry.is_dir(follow_symlinks=False) else found.st_size
    return size, (found.st_dev, found.st_ino)
