"""From a seccomp profile (runtime-spec `config-linux.md`, "Seccomp") to the filter's program.

Owns the translation by libseccomp, and the programs that are kept: in this process by profile,
and beside a bundle, so that who starts a container compiles nothing. Must not know what a
profile is for, nor how a program is installed. Sources: seccomp(2), seccomp_rule_add(3).

Names that this libseccomp does not know are passed over. A profile that answers "not permitted"
by default was written before calls that are newer than all it names; those get "not implemented",
which is what a C library falls back on. Both are what runc does.
"""

import contextlib
import errno
import functools
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from aiod.native import spec
from aiod.native._native import ffi, lib
from aiod.native.errors import NativeError

PROGRAM_FILE = "seccomp.bpf"
_KEPT = 32
_SEAL = struct.Struct("=II")
_ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}
_OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
_BINARY_TREE = 2  # SCMP_FLTATR_CTL_OPTIMIZE: a search of the numbers instead of a list
# <linux/bpf_common.h>, <linux/seccomp.h>
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _EQUAL, _ABOVE, _NOT_BELOW, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
_X32_BIT = 0x40000000


def compile_profile(profile: spec.Seccomp) -> bytes:
    """The program of `profile`, an array of `struct sock_filter`; the same profile once only.

    Raises NativeError naming what is wrong with it.
    """
    return _compile(msgspec.json.encode(profile))


def check(profile: spec.Seccomp) -> None:
    """Raise NativeError for a profile of which no program could be made, without making one."""
    _action(profile.default_action, profile.default_errno_ret)
    if profile.listener_path:
        raise NativeError("linux.seccomp.listenerPath", errno.EOPNOTSUPP, "not supported")
    for name in profile.architectures:
        _architecture(name)
    for rule in profile.syscalls:
        _action(rule.action, rule.errno_ret)
        for arg in rule.args:
            _comparison(arg)
    flags_of(profile)


def flags_of(profile: spec.Seccomp) -> int:
    """The profile's flags as seccomp(2) takes them. Raises NativeError for one it does not know."""
    flags = 0
    for name in profile.flags:
        if name not in _FLAGS:
            raise NativeError("linux.seccomp.flags", errno.EINVAL, f"unknown: {name!r}")
        flags |= _FLAGS[name]
    return flags


def save(profile: spec.Seccomp, bundle: Path) -> None:
    """Put the program of `profile` beside a bundle. Raises NativeError or OSError."""
    text = msgspec.json.encode(profile)
    (bundle / PROGRAM_FILE).write_bytes(_sealed(text, _compile(text)))


def load(profile: spec.Seccomp, bundle: Path) -> bytes:
    """The program of `profile`: what `save` put there for it, else made now. Raises NativeError."""
    text = msgspec.json.encode(profile)
    with contextlib.suppress(OSError):
        data = (bundle / PROGRAM_FILE).read_bytes()
        program = data[_SEAL.size + len(text) :]
        if program and data == _sealed(text, program):
            return program
    return _compile(text)


def _sealed(text: bytes, program: bytes) -> bytes:
    """With its profile, of which it must be, and a sum, which damage would not leave as it is.

    No digest: who may write there may do anything, and shims need no cryptographic library.
    """
    body = text + program
    return _SEAL.pack(len(program), zlib.crc32(body)) + body


@functools.lru_cache(_KEPT)
def _compile(text: bytes) -> bytes:
    profile = msgspec.json.decode(text, type=spec.Seccomp)
    check(profile)
    default = _action(profile.default_action, profile.default_errno_ret)
    with _filter(default) as context:
        architectures = _add_architectures(context, profile.architectures)
        for rule in profile.syscalls:
            _add_rule(context, rule, default)
        program = _export(context)
    if default == _ACTIONS["SCMP_ACT_ERRNO"] | errno.EPERM:
        program = _newer_calls(profile, architectures) + program
    return program


@contextlib.contextmanager
def _filter(default: int) -> Iterator[Any]:
    context = lib.seccomp_init(default)
    if context == ffi.NULL:
        raise NativeError("linux.seccomp", errno.EINVAL, "libseccomp refuses the default action")
    try:
        _check(
            lib.seccomp_attr_set(context, lib.SCMP_FLTATR_CTL_OPTIMIZE, _BINARY_TREE),
            "linux.seccomp",
        )
        yield context
    finally:
        lib.seccomp_release(context)


def _check(result: int, step: str) -> None:
    if result < 0:
        raise NativeError(step, -result)


def _action(name: str, errno_ret: int | None) -> int:
    if name not in _ACTIONS:
        raise NativeError("linux.seccomp", errno.EINVAL, f"unknown action: {name!r}")
    if name in _WITH_ERRNO:
        number = errno.EPERM if errno_ret is None else errno_ret
        if not 0 <= number <= 0xFFFF:
            raise NativeError("linux.seccomp", errno.EINVAL, f"errnoRet {number} is out of range")
        return _ACTIONS[name] | number
    if errno_ret is not None:
        raise NativeError("linux.seccomp", errno.EINVAL, f"{name} has no errnoRet")
    return _ACTIONS[name]


def _add_architectures(context: Any, names: tuple[str, ...]) -> list[int]:
    """The native one is there already."""
    tokens = [int(lib.seccomp_arch_native())]
    for name in names:
        token = _architecture(name)
        if token in tokens:
            continue
        _check(lib.seccomp_arch_add(context, token), f"add {name} to the seccomp filter")
        tokens.append(token)
    return tokens


def _architecture(name: str) -> int:
    token = int(lib.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode()))
    if token == 0:
        raise NativeError("linux.seccomp", errno.EINVAL, f"unknown architecture: {name!r}")
    return token


def _add_rule(context: Any, rule: spec.SeccompSyscalls, default: int) -> None:
    action = _action(rule.action, rule.errno_ret)
    if action == default:
        return
    alternatives = _comparisons(rule.args)
    for name in rule.names:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number == -1:  # __NR_SCMP_ERROR
            continue
        for array, count in alternatives:
            _check(
                lib.seccomp_rule_add_array(context, action, number, count, array),
                f'add "{name}" to the seccomp filter',
            )


def _comparisons(args: tuple[spec.SeccompArg, ...]) -> list[tuple[Any, int]]:
    """All of them together; each for itself if one argument is compared twice, as runc has it."""
    structs = [_comparison(arg) for arg in args]
    repeated = len({arg.index for arg in args}) < len(args)
    groups = [[one] for one in structs] if repeated else [structs]
    return [(ffi.new("struct scmp_arg_cmp[]", group), len(group)) for group in groups]


def _comparison(arg: spec.SeccompArg) -> Any:
    operator = arg.op.removeprefix("SCMP_CMP_")
    if operator not in _OPERATORS or operator == arg.op:
        raise NativeError("linux.seccomp", errno.EINVAL, f"unknown operator: {arg.op!r}")
    if not 0 <= arg.index <= 5:
        raise NativeError("linux.seccomp", errno.EINVAL, f"no system call has argument {arg.index}")
    if not (0 <= arg.value < 1 << 64 and 0 <= arg.value_two < 1 << 64):
        raise NativeError("linux.seccomp", errno.EINVAL, "a value is not of 64 bits")
    number = getattr(lib, f"SCMP_CMP_{operator}")
    return ffi.new(
        "struct scmp_arg_cmp *",
        {"arg": arg.index, "op": number, "datum_a": arg.value, "datum_b": arg.value_two},
    )[0]


def _export(context: Any) -> bytes:
    descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        _check(lib.seccomp_export_bpf(context, descriptor), "compile the seccomp filter")
        file.seek(0)
        return file.read()


def _newer_calls(profile: spec.Seccomp, architectures: list[int]) -> bytes:
    """Instructions before the filter: calls above the last named one are not implemented."""
    names = [name for rule in profile.syscalls for name in rule.names]
    return b"".join(_newer_calls_of(token, names) for token in architectures)


def _newer_calls_of(architecture: int, names: list[str]) -> bytes:
    numbers = (lib.seccomp_syscall_resolve_name_arch(architecture, name.encode()) for name in names)
    last = max((number for number in numbers if number < _X32_BIT), default=-1)
    if last < 0:
        return b""
    answer = _ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS
    return b"".join(
        _INSTRUCTION.pack(*instruction)
        for instruction in (
            (_LOAD, 0, 0, _ARCHITECTURE),
            (_EQUAL, 0, 4, architecture),
            (_LOAD, 0, 0, _NUMBER),
            (_NOT_BELOW, 2, 0, _X32_BIT),  # another architecture of the same name
            (_ABOVE, 0, 1, last),
            (_RETURN, 0, 0, answer),
        )
    )
