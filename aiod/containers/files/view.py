"""A container's file system as a descriptor of its root, without anything left mounted.

Of a running container it is the root of its own mount namespace. For one that rests, a thread
takes a mount namespace, mounts there what a start would, and ends: the mounts live as long as
the descriptor of the namespace, so that a daemon that dies leaves none (mount_namespaces(7)).
Blocking; must not know records' states.
"""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiod.errors import InternalError
from aiod.native import ownthread, proc, rooted, spec

_CLONE_FS, _CLONE_NEWNS = 0x200, 0x00020000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND = 0x1, 0x20, 0x1000
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18
_OPEN_TREE, _OPEN_TREE_CLONE = 428, 1
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class View:
    """The root, and what must stay open for it; close it with `close`."""

    root: int
    _stack: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Let it go, with all that was mounted for it."""
        self._stack.close()

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Bound:
    """Something of the host that a container sees at `target`."""

    source: Path
    target: str
    read_only: bool
    subpath: str = ""


def running(pid: int, start: int, *, bare: bool = False) -> View:
    """What that process has; `bare` is its root alone, without what is mounted on it.

    Raises ProcessLookupError if it has ended.
    """
    with _closing() as stack:
        try:
            namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ProcessLookupError(pid) from None
        stack.callback(os.close, namespace)
        if not proc.is_same(pid, start):
            raise ProcessLookupError(pid)

        def enter() -> int:
            _call("unshare", _CLONE_FS)
            _call("setns", namespace, _CLONE_NEWNS)
            if not bare:
                return os.open("/", rooted.PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
            return _call("syscall", ctypes.c_long(_OPEN_TREE), _AT_FDCWD, b"/", flags)

        return _kept(ownthread.run("aiod view", enter), stack)


def resting(layers: Sequence[Path], place: Path, bounds: Sequence[Bound] = ()) -> View:
    """To be read: `layers` stacked, the topmost first; `place` is a directory to mount on."""
    return _mounted(lambda opened: _stacked(layers, place, opened), place, bounds, make=False)


def resting_writable(mounts: Sequence[spec.Mount], place: Path, bounds: Sequence[Bound]) -> View:
    """As a start would mount it; nobody else may have it mounted meanwhile."""
    return _mounted(lambda opened: _as_started(mounts, place, opened), place, bounds, make=True)


def _mounted(
    mount: Callable[[ExitStack], None], place: Path, bounds: Sequence[Bound], *, make: bool
) -> View:
    place.mkdir(exist_ok=True)
    with _closing() as stack, ExitStack() as opened:

        def work() -> int:
            _call("unshare", _CLONE_NEWNS)
            _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
            sources = [(bound, _source(bound, opened)) for bound in bounds]
            mount(opened)
            own = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, own)
            root = os.open(place, rooted.PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, root)
            for bound, source in sources:
                if source is not None:
                    _bind(root, bound, source, make=make)
            return os.open(place, rooted.PATH | os.O_DIRECTORY | os.O_CLOEXEC)

        return _kept(ownthread.run("aiod view", work), stack)


def _source(bound: Bound, opened: ExitStack) -> int | None:
    """Opened in the namespace where it is to be mounted; None for what is not there."""
    try:
        found = _open(bound.source, opened)
        if not bound.subpath:
            return found
        below = rooted.open_in(found, os.fsencode(bound.subpath), rooted.PATH)
    except FileNotFoundError:
        return None
    opened.callback(os.close, below)
    return below


def _open(path: Path | str, opened: ExitStack) -> int:
    descriptor = os.open(path, rooted.PATH | os.O_CLOEXEC)
    opened.callback(os.close, descriptor)
    return descriptor


def _stacked(layers: Sequence[Path], place: Path, opened: ExitStack) -> None:
    if len(layers) == 1:
        _mount_bind(os.fsencode(layers[0]), os.fsencode(place), read_only=True)
        return
    _overlay([f"lowerdir={layer}" for layer in layers], place, opened, _MS_RDONLY)


def _as_started(mounts: Sequence[spec.Mount], place: Path, opened: ExitStack) -> None:
    for mount in mounts:
        if mount.type == "overlay":
            _overlay(mount.options, place, opened, 0)
        else:
            _mount_bind(os.fsencode(mount.source), os.fsencode(place), read_only=False)


def _overlay(options: Sequence[str], place: Path, opened: ExitStack, flags: int) -> None:
    """Directories go by their descriptors' numbers: mount(2) takes one page of options."""
    lower, words = [], []
    for option in options:
        name, equals, value = option.partition("=")
        if name == "lowerdir":
            lower.append(str(_open(value, opened)))
        elif name in ("upperdir", "workdir"):
            words.append(f"{name}={_open(value, opened)}")
        else:
            words.append(option if equals else name)
    text = ",".join([f"lowerdir={':'.join(lower)}", *words])
    os.chdir("/proc/self/fd")  # of this thread alone, since it has a namespace of its own
    _call("mount", b"overlay", os.fsencode(place), b"overlay", flags, text.encode())


def _bind(root: int, bound: Bound, source: int, *, make: bool) -> None:
    target = os.fsencode(bound.target)
    try:
        found = rooted.open_in(root, target, rooted.PATH)
    except OSError:
        if not make:
            raise
        directory = os.path.isdir(rooted.place_of(source))
        found = _made(root, target, directory=directory)
    try:
        _mount_bind(
            rooted.place_of(source).encode(), rooted.place_of(found).encode(),
            read_only=bound.read_only, inside=(root, target),
        )  # fmt: skip
    finally:
        os.close(found)


def _made(root: int, target: bytes, *, directory: bool) -> int:
    """The place to mount on, made as a start would make it."""
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    for count in range(1, len(parts) + 1):
        above = b"/".join(parts[: count - 1])
        with rooted.opened(root, above, rooted.DIRECTORY) as parent, suppress(FileExistsError):
            if count < len(parts) or directory:
                os.mkdir(parts[count - 1], 0o755, dir_fd=parent)
            else:
                os.close(os.open(parts[-1], os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644,
                                 dir_fd=parent))  # fmt: skip
    return rooted.open_in(root, target, rooted.PATH)


def _mount_bind(
    source: bytes, target: bytes, *, read_only: bool, inside: tuple[int, bytes] | None = None
) -> None:
    _call("mount", source, target, None, _MS_BIND | _MS_REC, None)
    if not read_only:
        return
    if inside is None:
        _call("mount", None, target, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY, None)
        return
    with rooted.opened(*inside, rooted.PATH) as mounted:  # what is on top now
        place = rooted.place_of(mounted).encode()
        _call("mount", None, place, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY, None)


@contextmanager
def _closing() -> Iterator[ExitStack]:
    stack = ExitStack()
    try:
        yield stack
    except BaseException:
        stack.close()
        raise


def _kept(root: int, stack: ExitStack) -> View:
    stack.callback(os.close, root)
    return View(root, stack)


def _call(name: str, *arguments: object) -> int:
    result = int(getattr(_libc, name)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise InternalError(f"{name} for a container's files: {os.strerror(number)}")
    return result
