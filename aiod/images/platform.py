"""Platforms: what this machine is, and what a client may ask for (`os/architecture/variant`).

Sans-I/O but for asking the kernel once what the machine is.
"""

import platform
import re
from collections.abc import Iterable

from aiod.errors import InvalidParameterError
from aiod.images.config import Descriptor, Platform

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


def wanted_platform(text: str) -> Platform:
    """The platform that a client wants an image for; nothing is this machine's.

    Raises InvalidParameterError.
    """
    parts = [_ALIASES.get(part, part) for part in text.lower().split("/")] if text else []
    if len(parts) > 3 or not all(re.fullmatch("[a-z0-9_.-]+", part) for part in parts):
        raise InvalidParameterError(f'"{text}": cannot parse platform specifier: invalid argument')
    if len(parts) == 1:
        parts = ["linux", *parts] if parts[0] in _ARCHITECTURES else [*parts, MACHINE.architecture]
    if not parts:
        return MACHINE
    if parts[0] != "linux":
        raise InvalidParameterError(f'"{text}": operating system is not supported')
    variant = parts[2] if parts[2:] else ("v7" if "armhf" in text.lower() else "")
    return Platform(parts[1], "linux", variant)


def shown(one: Platform) -> str:
    """`os/architecture/variant`."""
    return "/".join(part for part in (one.os, one.architecture, one.variant) if part)


def choose(manifests: Iterable[Descriptor], wanted: Platform) -> Descriptor | None:
    """The entry of an index that this platform runs best; None if it runs none.

    As containerd's `platforms.Only`: the architecture itself from its variant downwards, and
    on arm64 also 32-bit arm.
    """
    offered = [(one, _key(one.platform)) for one in manifests if one.platform]
    for runs in _runs(wanted):
        for one, key in offered:
            if key == (wanted.os, *runs):
                return one
    return None


_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


def _key(one: Platform) -> tuple[str, str, str]:
    architecture = _ALIASES.get(one.architecture, one.architecture)
    variant = one.variant or _DEFAULT_VARIANTS.get(architecture, "")
    return one.os, architecture, variant if variant.startswith("v") else _numbered(variant)


def _numbered(variant: str) -> str:
    return f"v{variant}" if variant.isdigit() else variant


def _runs(wanted: Platform) -> list[tuple[str, str]]:
    """Architecture and variant of what runs, the best first."""
    _, architecture, variant = _key(wanted)
    number = int(variant[1:]) if re.fullmatch(r"v[0-9]", variant) else None
    if number is None or architecture not in _DEFAULT_VARIANTS:
        return [(architecture, variant)]
    lowest = {"arm": 5, "arm64": 8, "amd64": 1}[architecture]
    found = [(architecture, f"v{n}") for n in range(number, lowest - 1, -1)]
    if architecture == "arm64":
        found += [("arm", f"v{n}") for n in range(8, 4, -1)]
    return found
