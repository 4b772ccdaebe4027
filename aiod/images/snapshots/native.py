"""Snapshots by copying: for where no overlay can be mounted.

A container gets a whole tree of its own, sharing extents with the layers where the file system
can (FICLONE). Owns the copy: owners, modes, times, xattrs, hard links and holes are kept.
"""

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from aiod.images.files import sync_directory, sync_file_system
from aiod.images.snapshots import changes, stacked
from aiod.images.snapshots.model import Difference, Kind, Mount, Stack, Usage, Write
from aiod.images.snapshots.usage import measure

_FICLONE = 0x40049409  # ioctl_ficlone(2)
_PIECE = 1 << 24
_OPAQUE = "trusted.overlay."


class NativeSnapshotter:
    """`own/root`, and `own/copied`, whose time says which files were changed since."""

    name = "native"

    def prepare(self, stack: Stack) -> None:
        """Copy, once; a copy that was cut short is begun again."""
        if (stack.own / "root").is_dir():
            return
        making = stack.own / "root.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o755, parents=True)
        making.chmod(0o755)
        _Copy(os.fsencode(making)).run(stack.layers)
        (stack.own / "copied").write_bytes(b"")
        sync_file_system(making)
        making.rename(stack.own / "root")
        sync_directory(stack.own)

    def mounts(self, stack: Stack) -> tuple[Mount, ...]:
        """The tree itself."""
        return (Mount("bind", str(stack.own / "root"), ("bind", "rprivate")),)

    def views(self, stack: Stack) -> tuple[Path, ...]:
        """The copy, or the layers before there is one."""
        root = stack.own / "root"
        return (root,) if root.is_dir() else stack.layers

    def commit(self, stack: Stack) -> Write | None:
        """What is not as in the layers."""
        found = changes.find(stack.own / "root", stack.layers, _copied_ns(stack))
        return partial(changes.write, stack.own / "root", found) if found else None

    def differences(self, stack: Stack) -> Iterator[Difference]:
        """What is not as in the layers."""
        if not (stack.own / "root").is_dir():
            return
        found = changes.find(stack.own / "root", stack.layers, _copied_ns(stack))
        for path in found.there:
            yield Difference(path, Kind.ADDED if path in found.new else Kind.CHANGED)
        for path in found.gone:
            yield Difference(path, Kind.DELETED)

    def usage(self, stack: Stack) -> Usage:
        """What was changed since it was copied."""
        return measure(stack.own / "root", _copied_ns(stack))

    def remove(self, stack: Stack) -> None:
        """Delete the tree."""
        for name in ("root", "root.making"):
            shutil.rmtree(stack.own / name, ignore_errors=True)
        (stack.own / "copied").unlink(missing_ok=True)


def _copied_ns(stack: Stack) -> int:
    try:
        return (stack.own / "copied").stat().st_ctime_ns
    except FileNotFoundError:
        return 0


def copy_tree(source: Path, target: Path, below: Sequence[Path] = ()) -> None:
    """Copy one directory with all that is below it to `target`, which is made.

    `below` are directories that it is stacked on, the topmost first.
    """
    made, origin = os.fsencode(target), os.fsencode(source)
    os.mkdir(made, 0o700)
    seen = stacked.Seen(b"", origin, os.stat(origin))
    _dress(seen, made)
    _Copy(made).run((source, *below))
    os.utime(made, ns=(seen.status.st_mtime_ns, seen.status.st_mtime_ns))


class _Copy:
    """One copy of a stack below `target`."""

    def __init__(self, target: bytes) -> None:
        self._target = target
        self._links: dict[tuple[int, int], bytes] = {}

    def run(self, layers: Sequence[Path]) -> None:
        directories: list[tuple[bytes, os.stat_result]] = []
        for one in stacked.walk([os.fsencode(layer) for layer in layers]):
            path = self._target + b"/" + one.path
            if stat.S_ISDIR(one.status.st_mode):
                os.mkdir(path, 0o700)
                directories.append((path, one.status))
                _dress(one, path)
            else:
                self._file(one, path)
        for path, status in reversed(directories):  # last: each file made in one touches it
            os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))

    def _file(self, one: stacked.Seen, path: bytes) -> None:
        if one.status.st_nlink > 1:
            key = (one.status.st_dev, one.status.st_ino)
            if (first := self._links.setdefault(key, path)) != path:
                os.link(first, path, follow_symlinks=False)
                return
        mode = one.status.st_mode
        if stat.S_ISREG(mode):
            copy_content(one.place, path)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(one.place), path)
        else:
            os.mknod(path, stat.S_IFMT(mode) | 0o600, one.status.st_rdev)
        _dress(one, path)
        times = (one.status.st_mtime_ns, one.status.st_mtime_ns)
        os.utime(path, ns=times, follow_symlinks=False)


def _dress(one: stacked.Seen, path: bytes) -> None:
    """Owner first: changing it clears set-id bits and file capabilities."""
    os.chown(path, one.status.st_uid, one.status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(one.status.st_mode):
        os.chmod(path, stat.S_IMODE(one.status.st_mode))
    for key in os.listxattr(one.place, follow_symlinks=False):
        if not key.startswith(_OPAQUE):
            value = os.getxattr(one.place, key, follow_symlinks=False)
            os.setxattr(path, key, value, follow_symlinks=False)


def copy_content(source: bytes, target: bytes) -> None:
    """Make `target` with the bytes of the regular file `source`, holes and all."""
    with open(source, "rb", buffering=0) as old, open(target, "xb", buffering=0) as new:
        with contextlib.suppress(OSError):  # no sharing of extents here
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
            return
        size = os.fstat(old.fileno()).st_size
        os.ftruncate(new.fileno(), size)
        end = 0
        while end < size:
            try:
                start = os.lseek(old.fileno(), end, os.SEEK_DATA)
            except OSError:  # only a hole is left
                return
            end = os.lseek(old.fileno(), start, os.SEEK_HOLE)
            _copy_range(old.fileno(), new.fileno(), start, end)


def _copy_range(old: int, new: int, start: int, end: int) -> None:
    os.lseek(new, start, os.SEEK_SET)
    while start < end:
        start += os.sendfile(new, old, start, min(_PIECE, end - start))
