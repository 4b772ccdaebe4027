"""How much a tree holds. Blocks; what vanishes meanwhile counts for nothing."""

import os
import stat
from pathlib import Path

from aiod.images.snapshots.model import Usage


def measure(root: Path, since_ns: int = 0) -> Usage:
    """Bytes and number of files below `root` that changed after `since_ns`, links counted once."""
    seen: set[tuple[int, int]] = set()
    size = files = 0
    for directory, names, others in os.walk(root):
        for name in (*names, *others):
            try:
                status = os.lstat(os.path.join(directory, name))
            except OSError:
                continue
            if status.st_ctime_ns <= since_ns or (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            files += 1
            size += 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return Usage(size, files)
