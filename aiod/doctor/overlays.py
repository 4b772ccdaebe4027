"""Whether overlays can be mounted with their upper directory in a place, told within a process.

The file system is made (fsopen(2)) and mounted nowhere, so that nothing has to be forked or
unmounted. Blocks.
"""

import os
import shutil
import stat
import tempfile
from pathlib import Path

from aiod.doctor import trial

_SET_STRING, _CREATE, _CLOEXEC = 1, 6, 1


def problem(place: Path) -> str:
    """Why not; "" if they can."""
    try:
        scratch = tempfile.mkdtemp(prefix=".aiod-overlay.", dir=place)
    except OSError as error:
        return str(error)
    try:
        _attempt(scratch)
    except OSError as error:
        return error.strerror or str(error)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ""


def _attempt(scratch: str) -> None:
    names = {"lowerdir": "lower", "upperdir": "upper", "workdir": "work"}
    for name in names.values():
        os.mkdir(f"{scratch}/{name}")
    # What layers are made of.
    os.mknod(f"{scratch}/lower/gone", stat.S_IFCHR, 0)
    os.setxattr(f"{scratch}/lower", "trusted.overlay.opaque", b"y")
    os.removexattr(f"{scratch}/lower", "trusted.overlay.opaque")
    context = _check(trial.syscall(trial.FSOPEN, b"overlay", _CLOEXEC), "fsopen overlay")
    try:
        for key, name in names.items():
            value = f"{scratch}/{name}".encode()
            said = trial.syscall(trial.FSCONFIG, context, _SET_STRING, key.encode(), value, 0)
            _check(said, key)
        _check(trial.syscall(trial.FSCONFIG, context, _CREATE, None, None, 0), "make an overlay")
    finally:
        os.close(context)


def _check(said: int, what: str) -> int:
    if said < 0:
        raise OSError(-said, f"{what}: {os.strerror(-said)}")
    return said
