"""Images' file systems to look into or to write to, as descriptors: nothing is left mounted.

A thread takes a mount namespace of its own, mounts there, opens the root and detaches it: the
mount lives as long as the descriptor (mount(2), umount2(2) MNT_DETACH), and a daemon that dies
leaves none behind. Blocking; must not know what is looked for.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from aiod.errors import InternalError
from aiod.native import ownthread

_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_REC, _MS_PRIVATE = 0x1, 0x4000, 1 << 18
_MNT_DETACH = 2
_MOST_OPTIONS = 4095  # bytes: mount(2) takes one page
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def mounted(layers: Sequence[Path], writable: Path | None, scratch: Path) -> Iterator[int]:
    """The root of the stacked `layers`, the topmost first, as a descriptor.

    What is written goes to `writable`/upper, if that is given; then nothing else may be
    mounted on it. `scratch` is a directory to mount on, made if need be. Raises InternalError.
    """
    scratch.mkdir(exist_ok=True)
    with contextlib.ExitStack() as opened:
        root = ownthread.run("aiod mount", lambda: _mount(layers, writable, scratch, opened))
        opened.callback(os.close, root)
        yield root


def _mount(
    layers: Sequence[Path], writable: Path | None, scratch: Path, opened: contextlib.ExitStack
) -> int:
    _call("unshare", _CLONE_NEWNS)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    lower: list[str] = []
    for layer in layers or (_empty(scratch),):
        descriptor = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, descriptor)  # opened here: it must be of this namespace
        lower.append(f"/proc/self/fd/{descriptor}")
    if not writable and len(lower) == 1:
        lower.append(str(_empty(scratch)))  # overlay wants two
    options = f"lowerdir={':'.join(lower)}"
    if writable:
        for name in ("upper", "work"):
            (writable / name).mkdir(exist_ok=True)
            (writable / name).chmod(0o755)
        options += f",upperdir={writable}/upper,workdir={writable}/work"
    if len(options) > _MOST_OPTIONS:
        raise InternalError("max depth exceeded")
    target = os.fsencode(scratch)
    flags = 0 if writable else _MS_RDONLY
    _call("mount", b"overlay", target, b"overlay", flags, options.encode())
    root = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _call("umount2", target, _MNT_DETACH)
    return root


def _empty(scratch: Path) -> Path:
    made = scratch.with_name(f"{scratch.name}-empty")
    made.mkdir(exist_ok=True)
    return made


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        raise InternalError(f"build: {name}: {os.strerror(ctypes.get_errno())}")
