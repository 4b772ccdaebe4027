"""Build contexts from the committed Dockerfiles, with what git cannot hold.

Owns times, modes and odd files, so that they are the same on every machine; must not know
engines.
"""

import bz2
import gzip
import lzma
import os
import shutil
import stat
from pathlib import Path

from tests.support.layertars import directory, layer, link, member, soft

CASES = Path(__file__).parent.parent / "compat" / "dockerfiles"
_LONG_AGO = 1_400_000_000  # seconds; every file of a context has its own time after it


def names() -> list[str]:
    """Every committed context."""
    return sorted(path.name for path in CASES.iterdir() if path.is_dir())


def prepare(name: str, at: Path) -> Path:
    """A copy of the context `name` at `at`, complete."""
    shutil.copytree(CASES / name, at, symlinks=True)
    make = _ADDITIONS.get(name)
    if make:
        make(at)
    _settle(at)
    return at


def _settle(top: Path) -> None:
    """Modes without the umask's traces, unless a special one was set; times of long ago."""
    paths = sorted([top, *top.rglob("*")], reverse=True)
    for number, path in enumerate(paths):
        mode = path.lstat().st_mode
        if not path.is_symlink() and not _is_odd(mode):
            path.chmod(0o755 if path.is_dir() or mode & 0o100 else 0o644)
        moment = _LONG_AGO + 60 * number
        os.utime(path, (moment, moment), follow_symlinks=False)


def _is_odd(mode: int) -> bool:
    return stat.S_IMODE(mode) not in (0o755, 0o775, 0o700, 0o644, 0o664, 0o600)


def _archives(at: Path) -> None:
    members = [
        directory("inside", 0o750, uid=3, gid=4),
        member("inside/file", b"from an archive\n", uid=5, gid=6, mode=0o640),
        member("inside/program", b"#!/bin/sh\n", mode=0o4755),
        soft("inside/soft", "file"),
        link("inside/hard", "inside/file"),
    ]
    plain = layer(members)
    for name, data in {
        "a.tar": plain,
        "b.tar.gz": gzip.compress(plain, mtime=0),
        "c.tar.bz2": bz2.compress(plain),
        "d.tar.xz": lzma.compress(plain),
        "not-copied-out.tar": plain,
        "text.gz": gzip.compress(b"compressed, but no archive\n", mtime=0),
    }.items():
        (at / name).write_bytes(data)
    (at / "false.tar.gz").write_bytes(b"no archive, whatever its name\n")


_ADDITIONS = {"09-add-archives": _archives}
