"""Platforms: what this machine is, and what a client may ask for (`os/architecture/variant`).

Sans-I/O but for asking the kernel once what the machine is.
"""

import platform

from aiod.errors import InvalidParameterError
from aiod.images.config import Platform

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386",
             "armv7l": "arm", "armv6l": "arm"}  # fmt: skip
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}
_ARCHITECTURES = frozenset(
    ("386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle",
     "ppc64", "ppc64le", "riscv64", "s390x")
)  # fmt: skip

MACHINE = Platform(_MACHINES.get(platform.machine(), platform.machine()), "linux")


def import_platform(text: str) -> Platform:
    """The platform that an imported root filesystem is said to be for.

    Nothing, `linux` or an architecture alone mean this machine in what they leave out. Raises
    InvalidParameterError.
    """
    parts = text.lower().split("/") if text else []
    if len(parts) > 3 or not all(parts):
        raise InvalidParameterError(f'"{text}": unknown operating system or architecture')
    if len(parts) == 1 and parts[0] != "linux":
        name = _ALIASES.get(parts[0], parts[0])
        if name in _ARCHITECTURES:
            return Platform(name, "linux")
    if parts and parts[0] != "linux":
        raise InvalidParameterError("operating system is not supported")
    architecture = _ALIASES.get(parts[1], parts[1]) if parts[1:] else MACHINE.architecture
    return Platform(architecture, "linux", parts[2] if parts[2:] else "")
