"""The steps a child carries out between clone3 and execve: names, fields, rendering.

Owns the one shape that a plan is made of, mirrored by `struct aiod_step` in `src/spawn.cdef`;
must not know where steps come from, nor how they are carried out.
"""

import enum

import msgspec


class Op(enum.IntEnum):
    """What a step does; the numbers and the fields each reads are those of `src/spawn.cdef`."""

    SYNC = 1
    SETNS = 2
    UNSHARE = 3
    USERNS_ROOT = 4
    PROPAGATION = 5
    ROOT_BIND = 6
    ROOT_MOUNT = 7
    ROOT_HERE = 8
    MOUNT = 9
    BIND = 10
    ATTRIBUTES = 11
    DEVICE = 12
    LINK = 13
    CONSOLE = 14
    WRITE = 15
    PIVOT = 16
    ROOT_PROPAGATION = 17
    MASK = 18
    READONLY = 19
    HOSTNAME = 20
    DOMAINNAME = 21
    KEYRING = 22
    SESSION = 23
    RLIMIT = 24
    UMASK = 25
    STDIO = 26
    CWD = 27
    BOUNDING = 28
    IDENTITY = 29
    NO_NEW_PRIVS = 30
    SECCOMP = 31
    CAPABILITIES = 32
    LOOKUP = 33
    READY = 34
    EXEC = 35
    HOME = 36


class Flag(enum.IntFlag):
    """How a step does it."""

    TELL = 1
    RECURSIVE = 2
    ATTRIBUTES_BELOW = 4
    PREPARED = 8
    PROPAGATION_BELOW = 16
    KEEP_MODE = 32
    OLD_MOUNT = 64
    MAKE = 128


class Sync(enum.StrEnum):
    """What the child waits for."""

    NONE = ""
    MAPS = "id maps"
    CGROUP = "cgroup"
    HOOKS = "hooks"


class Capabilities(msgspec.Struct, frozen=True):
    """Masks of four of the five sets; the bounding set is a step of its own."""

    effective: int = 0
    permitted: int = 0
    inheritable: int = 0
    ambient: int = 0


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step. `name` is what a user reads when it fails; paths are the container's.

    `set` and `clear` are attributes of mount_setattr(2), or for RLIMIT the soft and the hard
    limit, or for BOUNDING the mask. `flags` are `Flag`s, or for SETNS, UNSHARE, PROPAGATION and
    SECCOMP the system call's own. `options` are a file system's, None for one without a value.
    """

    op: Op
    name: str
    path: str = ""
    source: str = ""
    type: str = ""
    options: tuple[tuple[str, str | None], ...] = ()
    flags: int = 0
    set: int = 0
    clear: int = 0
    propagation: int = 0
    number: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    candidates: tuple[str, ...] = ()
    capabilities: Capabilities | None = None
    program: bytes = b""
    sync: Sync = Sync.NONE


_HEX = {"set", "clear", "flags", "propagation"}


def render_step(step: Step) -> str:
    """One line: the operation, its name, and each field that is not at its default."""
    words = []
    for field in msgspec.structs.fields(step):
        value = getattr(step, field.name)
        if field.name in ("op", "name") or value == field.default:
            continue
        words.append(f"{field.name}={_render_value(field.name, value)}")
    return f"{step.op.name.lower():<16} {step.name}" + (f"  [{' '.join(words)}]" if words else "")


def _render_value(name: str, value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value)}B"
    if isinstance(value, Capabilities):
        sets = (value.effective, value.permitted, value.inheritable, value.ambient)
        return "/".join(f"{mask:x}" for mask in sets)
    if name == "options" and isinstance(value, tuple):
        return ",".join(k if v is None else f"{k}={v}" for k, v in value)
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if name == "mode":
        return f"{value:o}"
    if isinstance(value, enum.Enum):
        return str(value.value)
    return f"{value:#x}" if name in _HEX else str(value)
