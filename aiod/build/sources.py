"""What COPY and ADD may take: files below one root, found by name or pattern, and digested.

Owns the digests that tell whether a file has changed: of its header and content, without
times (Docker's tarsum, version 1). Blocking; must not know where things are copied to.
"""

import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiod.build import beneath
from aiod.errors import InvalidParameterError, NotFoundError
from aiod.images import layertar
from aiod.images.content import CHUNK
from aiod.images.layertar import TarEntry
from aiod.wire import goglob

_NOT_IN_CONTEXT = "file not found in build context or excluded by .dockerignore: "
_WILD = re.compile(r"[*?[\\]")
_KINDS = {
    stat.S_IFREG: layertar.REGULAR, stat.S_IFDIR: layertar.DIRECTORY,
    stat.S_IFLNK: layertar.SYMLINK, stat.S_IFCHR: layertar.CHARACTER,
    stat.S_IFBLK: layertar.BLOCKDEV, stat.S_IFIFO: layertar.FIFO,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """One source: `name` is what its copy is called, `path` the resolved place below `root`."""

    root: int
    name: bytes
    path: bytes
    digest: str
    unpack: bool = True


class Source:
    """Everything below one directory, which is a build context unless `of_image`.

    A context's digests are `sums`, of the members of its tar.
    """

    def __init__(
        self, root: int, *, of_image: bool = False, sums: Mapping[bytes, str] | None = None
    ) -> None:
        self._root = root
        self._of_image = of_image
        self._sums = sums
        self._missing = "" if of_image else _NOT_IN_CONTEXT

    def find(self, asked: str) -> list[Found]:
        """What a source argument means, each with its digest.

        Raises InvalidParameterError and NotFoundError in dockerd's words.
        """
        path = asked.removeprefix("/").removeprefix("./")
        if posixpath.normpath(path).startswith("../") or posixpath.normpath(path) == "..":
            raise InvalidParameterError(f"forbidden path outside the build context: {asked} ()")
        if not _WILD.search(path):
            return [self.one(os.fsencode(path))]
        try:
            matches = goglob.matcher(path)
        except InvalidParameterError:
            return []  # as dockerd, for which nothing matches then
        return [
            self.one(below)
            for below in beneath.walk(self._root, b".")
            if matches(os.fsdecode(below))
        ]

    def one(self, path: bytes) -> Found:
        """One file or directory, by its name as it is. Raises NotFoundError."""
        resolved = beneath.resolve(self._root, path)
        status = beneath.status(self._root, resolved)
        if status is None:
            raise NotFoundError(f"{self._missing}stat {os.fsdecode(path)}: file does not exist")
        name = posixpath.basename(posixpath.normpath(path))
        if not stat.S_ISDIR(status.st_mode):
            return Found(self._root, name, resolved, "file:" + self._digest(resolved))
        paths = [] if resolved == b"." else [resolved]
        sums = sorted(map(self._followed, [*paths, *beneath.walk(self._root, resolved)]))
        return Found(self._root, name, resolved, joined_digest("dir", sums))

    def _followed(self, path: bytes) -> str:
        """The digest of what a path leads to, or else the path, as Docker has it."""
        resolved = beneath.resolve(self._root, path)
        if resolved == b"." or beneath.status(self._root, resolved) is None:
            return os.fsdecode(path)
        return self._digest(resolved)

    def _digest(self, path: bytes) -> str:
        if self._sums is not None:
            return self._sums.get(path, os.fsdecode(path))
        entry = described(self._root, path, path)
        if self._of_image:  # dockerd has the type in the mode of what it did not get as a tar
            entry.mode = os.stat(path, dir_fd=self._root, follow_symlinks=False).st_mode
        hashed = begun_digest(entry)
        if entry.kind == layertar.REGULAR:
            with open(self._open(path), "rb", buffering=0) as file:
                while data := file.read(CHUNK):
                    hashed.update(data)
        return hashed.hexdigest()

    def _open(self, path: bytes) -> int:
        return open_file(self._root, path)


def open_file(root: int, path: bytes) -> int:
    """A resolved regular file's descriptor."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)


def joined_digest(prefix: str, digests: Iterable[str]) -> str:
    """One digest for several."""
    return f"{prefix}:{hashlib.sha256(','.join(digests).encode()).hexdigest()}"


def described(root: int, path: bytes, name: bytes) -> TarEntry:
    """A resolved path as the tar entry that it would be, called `name`."""
    status = os.stat(path, dir_fd=root, follow_symlinks=False)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), b"")
    link = os.readlink(path, dir_fd=root) if kind == layertar.SYMLINK else b""
    size = status.st_size if kind == layertar.REGULAR else 0
    entry = TarEntry(
        name, kind, link, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
        size, size, status.st_mtime_ns, os.major(status.st_rdev), os.minor(status.st_rdev),
    )  # fmt: skip
    entry.xattrs = _xattrs(root, path)
    return entry


def _xattrs(root: int, path: bytes) -> dict[str, bytes]:
    place = b"/proc/self/fd/%d/%s" % (root, path)
    return {
        name: os.getxattr(place, name, follow_symlinks=False)
        for name in os.listxattr(place, follow_symlinks=False)
        if name == "security.capability" or name.startswith("user.")
    }


def begun_digest(entry: TarEntry) -> "hashlib._Hash":
    """The digest of an entry, to which its content is to be added."""
    return hashlib.sha256(_header(entry))


def _header(entry: TarEntry) -> bytes:
    slash = b"/" if entry.kind == layertar.DIRECTORY else b""
    name = entry.name.rstrip(b"/") + slash
    fields = [
        (b"name", name), (b"mode", b"%d" % entry.mode), (b"uid", b"%d" % entry.uid),
        (b"gid", b"%d" % entry.gid), (b"size", b"%d" % entry.size), (b"typeflag", entry.kind),
        (b"linkname", entry.link), (b"uname", b""), (b"gname", b""),
        (b"devmajor", b"%d" % entry.major), (b"devminor", b"%d" % entry.minor),
    ]  # fmt: skip
    fields += [(key.encode(), entry.xattrs[key]) for key in sorted(entry.xattrs)]
    return b"".join(key + value for key, value in fields)
