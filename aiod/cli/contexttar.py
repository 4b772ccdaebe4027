"""A directory as the tar that a build's context is sent as.

Owns which files go in (by `.dockerignore`) and how: owned by root, times in whole seconds, so
that the engine's cache does not depend on who sends it. Must not know the engine.
"""

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from aiod.cli.errors import CliError
from aiod.wire.dockerignore import Ignore

_PIECE = 1 << 18
_END = bytes(2 * tarfile.BLOCKSIZE)


def packed(root: Path | None, ignore: Ignore, added: Mapping[str, bytes]) -> Iterator[bytes]:
    """The tar of a directory, if any, in pieces; `added` are further files. Raises CliError."""
    held = bytearray()
    for piece in _pieces(root, ignore, added):
        held += piece
        if len(held) >= _PIECE:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def _pieces(root: Path | None, ignore: Ignore, added: Mapping[str, bytes]) -> Iterator[bytes]:
    seen: dict[tuple[int, int], str] = {}
    try:
        if root is not None:
            for path in _walk(root, "", ignore):
                yield from _member(root, path, seen)
    except OSError as error:
        raise CliError(f"{error.filename or root}: {error.strerror}") from None
    for name, data in added.items():
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o600
        yield _header(info) + data + _padding(len(data))
    yield _END


def _walk(root: Path, directory: str, ignore: Ignore) -> Iterator[str]:
    """Paths relative to the root, parents first; what is left out may hold exceptions."""
    with os.scandir(root / directory) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{directory}/{entry.name}" if directory else entry.name
        excluded = ignore.excludes(path)
        if not excluded:
            yield path
        if entry.is_dir(follow_symlinks=False) and (not excluded or ignore.has_exceptions):
            yield from _walk(root, path, ignore)


def _member(root: Path, path: str, seen: dict[tuple[int, int], str]) -> Iterator[bytes]:
    file = root / path
    found = file.lstat()
    info = tarfile.TarInfo(path)
    info.mode, info.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
    if stat.S_ISREG(found.st_mode):
        yield from _regular(file, info, seen)
    elif _described(file, info, found):
        yield _header(info)


def _described(file: Path, info: tarfile.TarInfo, found: os.stat_result) -> bool:
    """Fill in what is no plain file; False for what no tar can hold."""
    kind = stat.S_IFMT(found.st_mode)
    kinds = {stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE,
             stat.S_IFIFO: tarfile.FIFOTYPE, stat.S_IFCHR: tarfile.CHRTYPE,
             stat.S_IFBLK: tarfile.BLKTYPE}  # fmt: skip
    if kind not in kinds:
        return False
    info.type = kinds[kind]
    if kind == stat.S_IFLNK:
        info.linkname = os.readlink(file)
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
    return True


def _regular(
    file: Path, info: tarfile.TarInfo, seen: dict[tuple[int, int], str]
) -> Iterator[bytes]:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        first = seen.setdefault((found.st_dev, found.st_ino), info.name)
        if first != info.name:
            info.type, info.linkname = tarfile.LNKTYPE, first
            yield _header(info)
            return
        info.size = found.st_size
        yield _header(info)
        yield from _content(descriptor, info.size)
        yield _padding(info.size)
    finally:
        os.close(descriptor)


def _content(descriptor: int, size: int) -> Iterator[bytes]:
    """As many bytes as the header promised, whatever becomes of the file meanwhile."""
    left = size
    while left:
        piece = os.read(descriptor, min(left, _PIECE)) or bytes(min(left, _PIECE))
        left -= len(piece)
        yield piece


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
