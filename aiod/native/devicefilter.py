"""Device rules on cgroup v2: rules to a BPF program, and the program to a cgroup.

Owns the meaning of a list of rules, which is that of version 1's devices controller (the kernel's
`admin-guide/cgroup-v1/devices.rst`), and the instructions (the kernel's `bpf/standardization/
instruction-set.rst`; `struct bpf_cgroup_dev_ctx` of <linux/bpf.h>). Must not know containers.
"""

import contextlib
import errno
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aiod.native import spec
from aiod.native._native import ffi, lib
from aiod.native.errors import NativeError

Key = tuple[str, int | None, int | None]
"""`b` or `c`, major and minor; None is every number."""

_STEP = "cgroup devices"
_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL = 7
_TYPES = {"b": 1, "c": 2}
_INSTRUCTION = struct.Struct("=BBhi")
_LOG_SIZE = 65536
_MOST_FILTERS = 64
# Operation codes: 32 bits of memory at r1, arithmetic and jumps of 32 bits with a constant.
_LOAD, _AND, _SHIFT_RIGHT, _MOVE, _COPY = 0x61, 0x54, 0x74, 0xB4, 0xBC
_UNLESS, _IF_BITS, _JUMP, _EXIT = 0x56, 0x46, 0x05, 0x95
_KIND, _WANTED, _MAJOR, _MINOR, _SCRATCH = 2, 3, 4, 5, 6


@dataclass(frozen=True, slots=True)
class Policy:
    """What is allowed: everything or nothing, but for the exceptions' accesses (bits of rwm)."""

    allowed: bool
    exceptions: dict[Key, int]


def policy(rules: Iterable[spec.DeviceCgroup]) -> Policy:
    """What `rules` come to, one after the other. Raises NativeError for one that is none.

    A rule for every device replaces all before; one that says what holds already takes an equal
    exception away; any other is an exception.
    """
    allowed, exceptions = True, dict[Key, int]()
    for rule in rules:
        keys, access = _keys(rule), _access(rule)
        if rule.type in ("a", "") and keys[0][1:] == (None, None) and access == _ALL:
            allowed, exceptions = rule.allow, {}
            continue
        for key in keys:
            before = exceptions.pop(key, 0)
            after = before & ~access if rule.allow == allowed else before | access
            if after:
                exceptions[key] = after
    return Policy(allowed, exceptions)


def _keys(rule: spec.DeviceCgroup) -> list[Key]:
    major, minor = (None if n is None or n < 0 else n for n in (rule.major, rule.minor))
    if rule.type not in ("a", "", "b", "c"):
        raise NativeError(_STEP, errno.EINVAL, f"unknown type of device: {rule.type!r}")
    return [(kind, major, minor) for kind in _TYPES if rule.type in ("a", "", kind)]


def _access(rule: spec.DeviceCgroup) -> int:
    letters = rule.access or "rwm"
    if not set(letters) <= set(_ACCESS):
        raise NativeError(_STEP, errno.EINVAL, f"unknown access to a device: {letters!r}")
    return sum(_ACCESS[letter] for letter in set(letters))


def assemble(wanted: Policy) -> bytes:
    """The program: it returns 1 for an access that is allowed."""
    program = [
        (_LOAD, 1, _KIND, 0, 0),
        (_COPY, _KIND, _WANTED, 0, 0),
        (_AND, 0, _KIND, 0, 0xFFFF),
        (_SHIFT_RIGHT, 0, _WANTED, 0, 16),
        (_LOAD, 1, _MAJOR, 4, 0),
        (_LOAD, 1, _MINOR, 8, 0),
    ]
    for key, access in wanted.exceptions.items():
        program += _exception(key, access, allow=not wanted.allowed)
    program += [(_MOVE, 0, 0, 0, int(wanted.allowed)), (_EXIT, 0, 0, 0, 0)]
    return b"".join(
        _INSTRUCTION.pack(code, source << 4 | target, offset, _signed(value))
        for code, source, target, offset, value in program
    )


def _exception(key: Key, access: int, *, allow: bool) -> list[tuple[int, int, int, int, int]]:
    """What is asked for must be within an allowed access, and no part of a denied one."""
    kind, major, minor = key
    outcome = [(_MOVE, 0, 0, 0, int(allow)), (_EXIT, 0, 0, 0, 0)]
    if allow:
        outcome = [
            (_COPY, _WANTED, _SCRATCH, 0, 0),
            (_AND, 0, _SCRATCH, 0, _ALL & ~access),
            (_UNLESS, 0, _SCRATCH, len(outcome), 0),
            *outcome,
        ]
    else:
        outcome = [
            (_IF_BITS, 0, _WANTED, 1, access),
            (_JUMP, 0, 0, len(outcome), 0),
            *outcome,
        ]
    tests = [(_KIND, _TYPES[kind])]
    tests += [(_MAJOR, major)] if major is not None else []
    tests += [(_MINOR, minor)] if minor is not None else []
    return [
        *(
            (_UNLESS, 0, register, len(tests) - number - 1 + len(outcome), value)
            for number, (register, value) in enumerate(tests)
        ),
        *outcome,
    ]


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value


def attach(rules: Iterable[spec.DeviceCgroup], directory: Path) -> None:
    """Let `rules` hold in the cgroup2 at `directory`, instead of those of a call before.

    Raises NativeError.
    """
    program = assemble(policy(rules))
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NativeError(f'{_STEP} of "{directory}"', error.errno or 0) from error
    with contextlib.ExitStack() as opened:
        opened.callback(os.close, descriptor)
        before = _attached(descriptor)
        loaded = _load(program)
        opened.callback(os.close, loaded)
        _check(lib.aiod_bpf_attach(descriptor, loaded))
        for number in before:
            old = lib.aiod_bpf_open(number)
            if old >= 0:
                opened.callback(os.close, old)
                _check(lib.aiod_bpf_detach(descriptor, old))


def _attached(descriptor: int) -> list[int]:
    ids = ffi.new("uint32_t[]", _MOST_FILTERS)
    count = lib.aiod_bpf_attached(descriptor, ids, _MOST_FILTERS)
    _check(count)
    return list(ids[0:count])


def _load(program: bytes) -> int:
    log = ffi.new("char[]", _LOG_SIZE)
    count = len(program) // _INSTRUCTION.size
    loaded = int(lib.aiod_bpf_load_device_filter(program, count, log, _LOG_SIZE))
    if loaded < 0:
        words = ffi.string(log).decode(errors="replace").strip().replace("\n", "; ")
        message = f"{os.strerror(-loaded).lower()} ({words})" if words else ""
        raise NativeError(f"{_STEP}: load the filter", -loaded, message)
    return loaded


def _check(result: int) -> None:
    if result < 0:
        raise NativeError(_STEP, -result)
