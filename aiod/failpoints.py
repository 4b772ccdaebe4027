"""Named crash points: places where a drill makes the daemon die as by SIGKILL.

A module declares its points at import time and calls `reach` on them between two steps;
in production that is one comparison. `AIOD_CRASH_POINT=NAME` or `NAME:N` (the N-th time
it is reached, from 1) arms one for the process. Must not know what the points mean.
"""

import os
import signal

_declared: set[str] = set()
_hits = 0


def declare(name: str) -> str:
    """Register a point under a dotted name such as `create.record-written`; returns it."""
    _declared.add(name)
    return name


def names() -> frozenset[str]:
    """All points declared by the modules imported so far."""
    return frozenset(_declared)


def _parse(value: str) -> tuple[str, int]:
    name, _, count = value.partition(":")
    return name, int(count or 1)


_armed, _count = _parse(os.environ.get("AIOD_CRASH_POINT", ""))


def reach(name: str) -> None:
    """Die here by SIGKILL if `name` is armed and this is its N-th time."""
    if name != _armed:
        return
    global _hits
    _hits += 1
    if _hits == _count:
        os.kill(os.getpid(), signal.SIGKILL)
