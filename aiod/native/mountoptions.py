"""The option strings of a mount, as attributes, propagation and a file system's own options.

Owns their names and meanings (runtime-spec `config-linux.md`, "Linux mount options"; mount(8));
must not know what is mounted.
"""

import msgspec

from aiod.native.errors import NativeError

RDONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8
ATIME, NOATIME, STRICTATIME, NODIRATIME = 0x70, 0x10, 0x20, 0x80
NOSYMFOLLOW = 0x200000

UNBINDABLE, PRIVATE, SLAVE, SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20

# name: (attributes set, attributes cleared)
_ATTRIBUTES = {
    "ro": (RDONLY, 0),
    "rw": (0, RDONLY),
    "nosuid": (NOSUID, 0),
    "suid": (0, NOSUID),
    "nodev": (NODEV, 0),
    "dev": (0, NODEV),
    "noexec": (NOEXEC, 0),
    "exec": (0, NOEXEC),
    "noatime": (NOATIME, ATIME),
    "relatime": (0, ATIME),
    "strictatime": (STRICTATIME, ATIME),
    "atime": (0, ATIME),
    "norelatime": (0, ATIME),
    "nostrictatime": (0, ATIME),
    "nodiratime": (NODIRATIME, 0),
    "diratime": (0, NODIRATIME),
    "nosymfollow": (NOSYMFOLLOW, 0),
    "symfollow": (0, NOSYMFOLLOW),
}
_PROPAGATION = {
    "private": PRIVATE,
    "slave": SLAVE,
    "shared": SHARED,
    "unbindable": UNBINDABLE,
}
# Flags of the super block, which a file system takes by name.
_SUPER = {"sync", "dirsync", "lazytime", "mand", "silent"}
_IGNORED = {"defaults", "async", "nolazytime", "nomand", "loud", "noiversion", "remount"}
_REFUSED = {"tmpcopyup", "idmap", "ridmap"}


class MountOptions(msgspec.Struct, frozen=True):
    """`set` and `clear` are of mount_setattr(2), for what is mounted below too if `below`.

    `propagation` is an MS_* of mount(2), 0 where none was asked; `data` goes to the file system.
    """

    set: int = 0
    clear: int = 0
    below: bool = False
    propagation: int = 0
    propagation_below: bool = False
    bind: bool = False
    recursive: bool = False
    data: tuple[tuple[str, str | None], ...] = ()

    @property
    def readonly(self) -> bool:
        """Whether the mount itself is to be read-only."""
        return bool(self.set & RDONLY)


def names() -> list[str]:
    """Every option that is known by name."""
    below = {f"r{name}" for name in _ATTRIBUTES} | {f"r{name}" for name in _PROPAGATION}
    return sorted({"bind", "rbind", *_ATTRIBUTES, *_PROPAGATION, *_SUPER, *_IGNORED, *below})


def propagation_of(option: str) -> tuple[int, bool] | None:
    """The propagation that `option` names and whether it goes below, or None."""
    if option in _PROPAGATION:
        return _PROPAGATION[option], False
    if option[:1] == "r" and option[1:] in _PROPAGATION:
        return _PROPAGATION[option[1:]], True
    return None


def parse(options: tuple[str, ...], step: str) -> MountOptions:
    """What `options` ask for, later ones overriding earlier ones.

    Raises NativeError naming `step` for one that is known and not supported.
    """
    set_, clear, propagation = 0, 0, (0, False)
    below = bind = recursive = False
    data: list[tuple[str, str | None]] = []
    for option in options:
        base = option[1:] if option[:1] == "r" and option[1:] in _ATTRIBUTES else option
        if option in _REFUSED:
            raise NativeError(step, 95, f"option {option!r} is not supported")
        if option in ("bind", "rbind"):
            bind, recursive = True, recursive or option == "rbind"
        elif option in _ATTRIBUTES or base != option:
            added, removed = _ATTRIBUTES[option if option in _ATTRIBUTES else base]
            below = below or option not in _ATTRIBUTES
            set_ = (set_ & ~removed) | added
            clear = (clear & ~added) | removed
        elif (found := propagation_of(option)) is not None:
            propagation = found
        elif option in _SUPER:
            data.append((option, None))
        elif option not in _IGNORED:
            key, sign, value = option.partition("=")
            data.append((key, value if sign else None))
    return MountOptions(
        set_, clear, below, propagation[0], propagation[1], bind, recursive, tuple(data)
    )
