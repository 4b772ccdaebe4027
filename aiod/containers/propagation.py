"""Whether a bind's propagation can be had: that depends on the mount its source is on.

Owns the reading of proc_pid_mountinfo(5) for it, and dockerd's words; see mount_namespaces(7).
"""

import os
import re
from pathlib import Path

from aiod.errors import InvalidParameterError

_SHARED = frozenset({"shared", "rshared"})
_RECEIVING = frozenset({"slave", "rslave"})
_ESCAPED = re.compile(r"\\([0-7]{3})")


def check(source: str, words: tuple[str, ...], mountinfo: str | None = None) -> None:
    """Refuse what would silently not propagate; blocking.

    `words` are the bind's options. Raises InvalidParameterError.
    """
    asked = set(words)
    if not asked & (_SHARED | _RECEIVING):
        return
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    place, tags = _mount_of(os.path.realpath(source), text)
    if asked & _SHARED and "shared" not in tags:
        raise InvalidParameterError(
            f"path {source} is mounted on {place} but it is not a shared mount"
        )
    if asked & _RECEIVING and not {"shared", "master"} & tags:
        raise InvalidParameterError(
            f"path {source} is mounted on {place} but it is not a shared or slave mount"
        )


def _mount_of(path: str, mountinfo: str) -> tuple[str, set[str]]:
    """Where the mount that `path` is on is, and the kinds of its optional fields."""
    found: tuple[str, set[str]] = ("/", set())
    for line in mountinfo.splitlines():
        fields = line.partition(" - ")[0].split()
        place = _ESCAPED.sub(lambda code: chr(int(code[1], 8)), fields[4])
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        # Of two at one place the later one covers the earlier.
        if inside and len(place) >= len(found[0]):
            found = (place, {tag.partition(":")[0] for tag in fields[6:]})
    return found
