"""Copies what COPY and ADD found into an image's file system: Docker's rules of places and owners.

Blocking; must not know how sources were found, nor what becomes of the tree.
"""

import os
import posixpath
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aiod.build import beneath
from aiod.build.beneath import Owner
from aiod.build.errors import CopyError
from aiod.build.placing import Placer
from aiod.build.sources import Found, described, open_file
from aiod.build.unpacking import is_tar, unpack_below
from aiod.errors import InvalidParameterError
from aiod.images import layertar
from aiod.images.compression import Limits
from aiod.images.layertar import TarEntry


@dataclass(frozen=True, slots=True)
class Manner:
    """How things are copied: `owner` None keeps owners, `mode` None keeps modes.

    `unpack` unpacks local archives, as ADD does.
    """

    owner: Owner | None
    mode: int | None = None
    unpack: bool = False


def destination(workdir: str, asked: str) -> str:
    """The absolute destination; a slash at its end says that it is a directory."""
    path = posixpath.normpath(posixpath.join("/", workdir, asked))
    path = "/" + path.lstrip("/")
    directory = asked.endswith(("/", "/.")) or asked in (".", "")
    return path if path == "/" or not directory else path + "/"


class Copier:
    """Copies into one root."""

    def __init__(self, root: int, limits: Limits, cancelled: threading.Event) -> None:
        self._root = root
        self._limits = limits
        self._cancelled = cancelled

    def copy(self, sources: Sequence[Found], target: str, manner: Manner) -> None:
        """Put every source at, or in, `target`. Raises AiodError and Cancelled."""
        for source in sources:
            try:
                self._copy(source, target, manner)
            except InvalidParameterError as error:
                raise CopyError(error.message) from error

    def _copy(self, source: Found, target: str, manner: Manner) -> None:
        path = beneath.resolve(self._root, os.fsencode(target))
        if beneath.is_directory(source.root, source.path):
            self._directory(source, path, manner)
        elif manner.unpack and source.unpack and self._is_archive(source):
            beneath.make_directories(self._root, path, Owner())
            with open(open_file(source.root, source.path), "rb") as file:
                unpack_below(
                    file, self._root, path, self._limits, self._cancelled,
                    os.fsdecode(source.name),
                )  # fmt: skip
        else:
            if target.endswith("/") or beneath.is_directory(self._root, path):
                path = source.name if path == b"." else path + b"/" + source.name
            self._file(source, path, manner)

    def _is_archive(self, source: Found) -> bool:
        status = beneath.status(source.root, source.path)
        if status is None or not stat.S_ISREG(status.st_mode):
            return False
        with open(open_file(source.root, source.path), "rb") as file:
            return is_tar(file, self._limits)

    def _directory(self, source: Found, path: bytes, manner: Manner) -> None:
        beneath.make_directories(self._root, path, manner.owner or Owner())
        if not beneath.is_directory(self._root, path):
            raise InvalidParameterError(f"/{os.fsdecode(path)} is not a directory")
        target = beneath.open_directory(self._root, path)
        try:
            placer = Placer(target, self._cancelled)
            self._contents(source, placer, manner)
            placer.finish()
        finally:
            os.close(target)

    def _contents(self, source: Found, placer: Placer, manner: Manner) -> None:
        linked: dict[tuple[int, int], bytes] = {}
        prefix = b"" if source.path == b"." else source.path + b"/"
        for path in beneath.walk(source.root, source.path):
            entry = described(source.root, path, path.removeprefix(prefix))
            if not entry.kind:
                continue  # a socket
            status = os.stat(path, dir_fd=source.root, follow_symlinks=False)
            if status.st_nlink > 1 and entry.kind != layertar.DIRECTORY:
                first = linked.setdefault((status.st_dev, status.st_ino), entry.name)
                if first != entry.name:
                    entry = replace(entry, kind=layertar.HARDLINK, link=first)
            self._place(source, path, _changed(entry, manner), placer)

    def _file(self, source: Found, path: bytes, manner: Manner) -> None:
        parent, _, name = path.rpartition(b"/")
        try:
            beneath.make_directories(self._root, parent, manner.owner or Owner())
        except InvalidParameterError:
            shown = os.fsdecode(path)
            raise InvalidParameterError(f"lstat /{shown}: not a directory") from None
        entry = described(source.root, source.path, name)
        entry.xattrs = {}  # as dockerd, which keeps them in directories only
        directory = beneath.open_directory(self._root, parent or b".")
        try:
            placer = Placer(directory, self._cancelled)
            self._place(source, source.path, _changed(entry, manner), placer)
        finally:
            os.close(directory)

    def _place(self, source: Found, path: bytes, entry: TarEntry, placer: Placer) -> None:
        if entry.kind != layertar.REGULAR:
            placer.place(entry, lambda size: b"")
            return
        file = open_file(source.root, path)
        try:
            placer.place(entry, lambda size: os.read(file, size))
        finally:
            os.close(file)


def _changed(entry: TarEntry, manner: Manner) -> TarEntry:
    """With the owner and mode asked for; a change of owner takes rights away, as chown(2) does."""
    # Docker's copies have whole seconds.
    entry = replace(entry, mtime_ns=entry.mtime_ns // 10**9 * 10**9)
    if manner.owner is not None:
        entry = replace(entry, uid=manner.owner.uid, gid=manner.owner.gid)
        if entry.kind not in (layertar.DIRECTORY, layertar.SYMLINK):
            kept = {k: v for k, v in entry.xattrs.items() if k != "security.capability"}
            lost = 0o4000 | (0o2000 if entry.mode & 0o010 else 0)
            entry = replace(entry, xattrs=kept, mode=entry.mode & ~lost)
    if manner.mode is not None and entry.kind != layertar.SYMLINK:
        entry = replace(entry, mode=manner.mode)
    return entry
