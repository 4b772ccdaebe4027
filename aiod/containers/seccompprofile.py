"""Docker's seccomp profiles: JSON with conditions, turned into what the runtime takes.

Owns the format of the file that `--security-opt seccomp=FILE` sends and the choice of rules by
capability, architecture and kernel (docs.docker.com, "Seccomp security profiles for Docker").
Pure; must not know who asked.
"""

import re

import msgspec

from aiod.errors import InvalidParameterError
from aiod.native import spec

_LARGEST = 1 << 20
# Docker's names of architectures, by the machine's of uname(2).
_DOCKER_NAMES = {
    "x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le",
    "s390x": "s390x", "riscv64": "riscv64",
}  # fmt: skip
_FILTER_NAMES = {
    "x86_64": "X86_64", "aarch64": "AARCH64", "armv7l": "ARM", "i686": "X86",
    "ppc64le": "PPC64LE", "s390x": "S390X", "riscv64": "RISCV64",
}  # fmt: skip


class _Struct(msgspec.Struct, frozen=True, rename="camel"):
    pass


class _Condition(_Struct, frozen=True):
    caps: tuple[str, ...] | None = None
    arches: tuple[str, ...] | None = None
    min_kernel: str | None = None


class _Rule(_Struct, frozen=True):
    action: str = ""
    name: str = ""
    names: tuple[str, ...] | None = None
    errno_ret: int | None = None
    args: tuple[spec.SeccompArg, ...] | None = None
    includes: _Condition | None = None
    excludes: _Condition | None = None


class _Architecture(_Struct, frozen=True):
    architecture: str = ""
    sub_architectures: tuple[str, ...] | None = None


class _Profile(_Struct, frozen=True):
    default_action: str = ""
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] | None = None
    arch_map: tuple[_Architecture, ...] | None = None
    flags: tuple[str, ...] | None = None
    listener_path: str = ""
    syscalls: tuple[_Rule, ...] | None = None


def read(text: str, capabilities: tuple[str, ...], machine: str, release: str) -> spec.Seccomp:
    """The profile for a container that holds `capabilities`, on a kernel `release`.

    `machine` and `release` are those of uname(2). Raises InvalidParameterError.
    """
    profile = _decode(text)
    chosen = []
    for rule in profile.syscalls or ():
        names = _names(rule)
        if _applies(rule, frozenset(capabilities), machine, release):
            args = rule.args or ()
            chosen.append(spec.SeccompSyscalls(names, rule.action, rule.errno_ret, args))
    return spec.Seccomp(
        profile.default_action,
        profile.default_errno_ret,
        _architectures(profile, machine),
        profile.flags or (),
        tuple(chosen),
        profile.listener_path,
    )


def _decode(text: str) -> _Profile:
    if len(text) > _LARGEST:
        raise InvalidParameterError("seccomp profile is larger than 1 MiB")
    try:
        profile = msgspec.json.decode(text, type=_Profile)
    except msgspec.DecodeError as error:
        raise InvalidParameterError(f"Decoding seccomp profile failed: {error}") from error
    if not profile.default_action:
        raise InvalidParameterError("Decoding seccomp profile failed: it has no defaultAction")
    return profile


def _names(rule: _Rule) -> tuple[str, ...]:
    if rule.name and rule.names:
        raise InvalidParameterError(
            "both 'name' and 'names' are specified in the seccomp profile, "
            "use either 'name' or 'names'"
        )
    return (rule.name,) if rule.name else rule.names or ()


def _architectures(profile: _Profile, machine: str) -> tuple[str, ...]:
    if profile.architectures and profile.arch_map:
        raise InvalidParameterError(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, "
            "use either 'architectures' or 'archMap'"
        )
    native = f"SCMP_ARCH_{_FILTER_NAMES.get(machine, machine.upper())}"
    for entry in profile.arch_map or ():
        if entry.architecture == native:
            return (native, *(entry.sub_architectures or ()))
    return profile.architectures or ()


def _applies(rule: _Rule, held: frozenset[str], machine: str, release: str) -> bool:
    excluded, included = rule.excludes or _Condition(), rule.includes or _Condition()
    name = _DOCKER_NAMES.get(machine, machine)
    if name in (excluded.arches or ()) or held & set(excluded.caps or ()):
        return False
    if excluded.min_kernel and _version(release) >= _version(excluded.min_kernel):
        return False
    if included.arches and name not in included.arches:
        return False
    if included.min_kernel and _version(release) < _version(included.min_kernel):
        return False
    return set(included.caps or ()) <= held


def _version(release: str) -> tuple[int, int]:
    """`4.8` and `6.1.0-amd64` as numbers."""
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is None:
        raise InvalidParameterError(
            f'Decoding seccomp profile failed: invalid kernel version: "{release}"'
        )
    return int(found[1]), int(found[2])
