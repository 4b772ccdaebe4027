"""What the runtime makes in a container's root to mount over, which is no part of what it wrote.

Blocking; must not know how layers are written.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

# What every container gets mounted over, made by the runtime where an image has none.
_MOUNT_POINTS = ("etc/hosts", "etc/hostname", "etc/resolv.conf")


def leave_out(upper: Path, layers: Sequence[Path]) -> None:
    """Take from what was written the empty files that the runtime made to mount over."""
    touched = False
    for name in _MOUNT_POINTS:
        place = upper / name
        if _is_empty_file(place) and not any(os.path.lexists(layer / name) for layer in layers):
            place.unlink()
            touched = True
    if touched:
        _leave_out_unchanged(upper / "etc", [layer / "etc" for layer in layers])


def _is_empty_file(place: Path) -> bool:
    try:
        status = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _leave_out_unchanged(place: Path, below: Sequence[Path]) -> None:
    """An empty directory that is as the one below it, or was made for those files alone."""
    with os.scandir(place) as entries:
        if next(entries, None) is not None:
            return
    mine = place.stat()
    lower = next((path.lstat() for path in below if os.path.lexists(path)), None)
    if lower is None or (lower.st_mode, lower.st_uid, lower.st_gid) == (
        mine.st_mode, mine.st_uid, mine.st_gid,
    ):  # fmt: skip
        place.rmdir()
