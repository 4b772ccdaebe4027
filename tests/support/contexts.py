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
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.layertars import directory, layer, member, soft

CASES = Path(__file__).parent.parent / "compat" / "dockerfiles"
_LONG_AGO = 1_400_000_000  # seconds; every file of a context has its own time after it


def names() -> list[str]:
    """Every committed context."""
    return sorted(path.name for path in CASES.iterdir() if path.is_dir())


def prepare(name: str, at: Path) -> Path:
    """A copy of the context `name` at `at`, complete."""
    shutil.copytree(CASES / name, at, symlinks=True)
    _forget_umask(at)
    _ADDITIONS.get(name, _nothing)(at)
    _date(at)
    return at


def write(at: Path, files: Mapping[str, str]) -> Path:
    """A context of text files, by their paths; a Dockerfile among them."""
    for name, text in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(text)
    _forget_umask(at)
    _date(at)
    return at


def _forget_umask(top: Path) -> None:
    for path in [top, *top.rglob("*")]:
        if not path.is_symlink():
            program = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if program else 0o644)


def _date(top: Path) -> None:
    """Each file has a time of its own; a directory after what is in it, so that it lasts."""
    for number, path in enumerate(sorted([top, *top.rglob("*")], reverse=True)):
        moment = _LONG_AGO + 60 * number
        os.utime(path, (moment, moment), follow_symlinks=False)


def _nothing(at: Path) -> None:
    pass


def _archives(at: Path) -> None:
    owned: dict[str, Any] = {"uid": 5, "gid": 6, "mode": 0o640}
    members = [
        directory("inside", 0o750, uid=3, gid=4),
        member("inside/file", b"from an archive\n", **owned),
        member("inside/program", b"#!/bin/sh\n", mode=0o4755),
        soft("inside/soft", "file"),
        member("inside/hard", type=tarfile.LNKTYPE, linkname="inside/file", **owned),
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


def _hard_links(at: Path) -> None:
    (at / "pair" / "b").hardlink_to(at / "pair" / "a")


def _odd_modes(at: Path) -> None:
    (at / "empty").mkdir()
    (at / "odd").mkdir()
    modes = {"setuid": 0o4755, "setgid": 0o2755, "none": 0, "all": 0o777, "write-only": 0o222}
    for name, mode in modes.items():
        (at / "odd" / name).write_text(f"{name}\n")
        (at / "odd" / name).chmod(mode)
    for name, mode in {"sticky": 0o1777, "shared": 0o2770, "private": 0o700}.items():
        (at / "odd" / name).mkdir()
        (at / "odd" / name).chmod(mode)
    os.mkfifo(at / "odd" / "fifo", 0o620)
    os.mknod(at / "odd" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (at / "special.tar").write_bytes(_special())


def _special() -> bytes:
    capability = "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0"  # cap_net_bind_service+ep
    return layer([
        member("capable", b"#!/bin/sh\n", mode=0o755,
               pax_headers={"SCHILY.xattr.security.capability": capability}),
        member("zero", mode=0o640, type=tarfile.CHRTYPE, devmajor=1, devminor=5),
        member("disk", mode=0o600, type=tarfile.BLKTYPE, devmajor=8, devminor=0),
        member("fifo", mode=0o644, type=tarfile.FIFOTYPE),
        member("big-owner", b"x", uid=3_000_000, gid=4_000_000),
        directory("sticky", 0o1770),
    ])  # fmt: skip


_ADDITIONS = {
    "09-add-archives": _archives,
    "25-hard-links": _hard_links,
    "26-modes": _odd_modes,
}
