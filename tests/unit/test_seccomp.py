"""Seccomp: profiles, Docker's and ours, and what the programs made of them decide."""

import errno
import json
import os
import struct
from pathlib import Path

import pytest

from aiod.containers import seccompprofile, security
from aiod.errors import InvalidParameterError, UnsupportedError
from aiod.native import capabilities, seccomp, spec
from aiod.native._native import lib
from aiod.native.errors import NativeError
from aiod.native.seccompdefault import default_profile

ALLOW, KILL = 0x7FFF0000, 0x00000000
NATIVE = int(lib.seccomp_arch_native())
MACHINE = os.uname().machine
CLONE_NEWUSER, CLONE_THREAD = 0x10000000, 0x00010000


def refused(number: int) -> int:
    return 0x00050000 | number


def number_of(name: str) -> int:
    found = int(lib.seccomp_syscall_resolve_name(name.encode()))
    assert found >= 0, name
    return found


def decide(program: bytes, call: int, *args: int, architecture: int = NATIVE) -> int:
    """What the kernel would do: an interpreter of seccomp(2)'s classic BPF."""
    padded = (*args, *[0] * (6 - len(args)))
    data = struct.pack("=iIQ6Q", call, architecture, 0, *padded)
    code = [struct.unpack("=HBBI", program[i : i + 8]) for i in range(0, len(program), 8)]
    accumulator = position = 0
    while True:
        operation, yes, no, value = code[position]
        position += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x54:
                accumulator &= value
            case 0x05:
                position += value
            case 0x15:
                position += yes if accumulator == value else no
            case 0x25:
                position += yes if accumulator > value else no
            case 0x35:
                position += yes if accumulator >= value else no
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"unknown operation {operation:#x}")


def compiled(*rules: spec.SeccompSyscalls, default: str = "SCMP_ACT_ALLOW") -> bytes:
    return seccomp.compile_profile(spec.Seccomp(default, syscalls=rules))


def ours(*held: str) -> bytes:
    return seccomp.compile_profile(default_profile((*capabilities.DEFAULT, *held), MACHINE))


def decide_by_name(program: bytes, name: str, *args: int) -> int:
    return decide(program, number_of(name), *args)


@pytest.mark.parametrize(
    "name", ["read", "openat", "execve", "clone", "ptrace", "chroot", "mknodat"]
)
def test_default_allows(name: str) -> None:
    assert decide_by_name(ours(), name) == ALLOW


@pytest.mark.parametrize(
    "name",
    [
        "mount", "umount2", "unshare", "setns", "keyctl", "add_key", "request_key", "bpf", "acct",
        "perf_event_open", "kexec_load", "init_module", "reboot", "swapon", "settimeofday",
        "io_uring_setup", "userfaultfd", "open_by_handle_at", "pivot_root", "fsopen", "quotactl",
    ],
)  # fmt: skip
def test_default_refuses(name: str) -> None:
    assert decide_by_name(ours(), name) == refused(errno.EPERM)


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("CAP_SYS_ADMIN", "mount"), ("CAP_SYS_ADMIN", "unshare"), ("CAP_SYS_ADMIN", "clone3"),
        ("CAP_SYS_BOOT", "reboot"), ("CAP_SYS_MODULE", "init_module"), ("CAP_SYS_PACCT", "acct"),
        ("CAP_SYS_PTRACE", "kcmp"), ("CAP_SYS_TIME", "settimeofday"), ("CAP_SYS_NICE", "mbind"),
        ("CAP_SYSLOG", "syslog"), ("CAP_BPF", "bpf"), ("CAP_PERFMON", "perf_event_open"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"), ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ],
)  # fmt: skip
def test_a_capability_brings_its_calls(capability: str, name: str) -> None:
    assert decide_by_name(ours(), name) != ALLOW
    assert decide_by_name(ours(capability), name) == ALLOW


def test_default_without_chroot() -> None:
    program = seccomp.compile_profile(default_profile(("CAP_KILL",), MACHINE))
    assert decide_by_name(program, "chroot") == refused(errno.EPERM)


def test_default_looks_at_arguments() -> None:
    program = ours()
    flags = 1 if MACHINE.startswith("s390") else 0
    assert decide_by_name(program, "clone", *[0] * flags, CLONE_THREAD) == ALLOW
    made = decide_by_name(program, "clone", *[0] * flags, CLONE_THREAD | CLONE_NEWUSER)
    assert made == refused(errno.EPERM)
    assert decide_by_name(program, "clone3") == refused(errno.ENOSYS)
    assert decide_by_name(program, "socket", 2) == ALLOW
    assert decide_by_name(program, "socket", 40) == refused(errno.EPERM)
    assert decide_by_name(program, "personality", 0xFFFFFFFF) == ALLOW
    assert decide_by_name(program, "personality", 0x0040000) == refused(errno.EPERM)


def test_calls_newer_than_the_profile_are_not_implemented() -> None:
    assert decide(ours(), 9999) == refused(errno.ENOSYS)
    kills = compiled(spec.SeccompSyscalls(("read",), "SCMP_ACT_ALLOW"), default="SCMP_ACT_KILL")
    assert decide(kills, 9999) == KILL


@pytest.mark.skipif(MACHINE != "x86_64", reason="32 bit calls are numbered otherwise elsewhere")
def test_default_covers_32_bit_programs() -> None:
    i386 = 0x40000003
    assert decide(ours(), 5, architecture=i386) == ALLOW  # open
    assert decide(ours(), 21, architecture=i386) == refused(errno.EPERM)  # mount
    assert decide(ours(), 0, architecture=0xC00000B7) == KILL  # another machine's


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "ppc64le", "s390x", "riscv64", "sparc64"])
def test_default_is_for_every_machine(machine: str) -> None:
    profile = default_profile(capabilities.DEFAULT, machine)
    seccomp.check(profile)
    assert ("arch_prctl" in profile.syscalls[0].names) == (machine == "x86_64")


def test_unknown_names_are_passed_over() -> None:
    program = compiled(spec.SeccompSyscalls(("no_such_call", "mkdir"), "SCMP_ACT_ERRNO", 99))
    assert decide_by_name(program, "mkdir") == refused(99)
    assert decide_by_name(program, "read") == ALLOW


@pytest.mark.parametrize(
    ("action", "decision"),
    [
        ("SCMP_ACT_KILL", KILL), ("SCMP_ACT_KILL_PROCESS", 0x80000000),
        ("SCMP_ACT_KILL_THREAD", KILL), ("SCMP_ACT_TRAP", 0x00030000),
        ("SCMP_ACT_ERRNO", refused(errno.EPERM)), ("SCMP_ACT_TRACE", 0x7FF00001),
        ("SCMP_ACT_LOG", 0x7FFC0000),
    ],
)  # fmt: skip
def test_actions(action: str, decision: int) -> None:
    program = compiled(spec.SeccompSyscalls(("mkdir",), action))
    assert decide_by_name(program, "mkdir") == decision


@pytest.mark.parametrize(
    ("operator", "matching", "other"),
    [
        ("SCMP_CMP_EQ", 5, 6), ("SCMP_CMP_NE", 6, 5), ("SCMP_CMP_LT", 4, 5),
        ("SCMP_CMP_LE", 5, 6), ("SCMP_CMP_GT", 6, 5), ("SCMP_CMP_GE", 5, 4),
        ("SCMP_CMP_EQ", 5, 5 + (1 << 32)),
    ],
)  # fmt: skip
def test_operators(operator: str, matching: int, other: int) -> None:
    args = (spec.SeccompArg(1, 5, operator),)
    program = compiled(spec.SeccompSyscalls(("mkdir",), "SCMP_ACT_ERRNO", args=args))
    assert decide_by_name(program, "mkdir", 0, matching) == refused(errno.EPERM)
    assert decide_by_name(program, "mkdir", 0, other) == ALLOW


def test_masked_equality_and_several_arguments() -> None:
    args = (
        spec.SeccompArg(0, 0xF0, "SCMP_CMP_MASKED_EQ", 0x50),
        spec.SeccompArg(2, 1, "SCMP_CMP_EQ"),
    )
    program = compiled(spec.SeccompSyscalls(("mkdir",), "SCMP_ACT_ERRNO", args=args))
    assert decide_by_name(program, "mkdir", 0x5F, 0, 1) == refused(errno.EPERM)
    assert decide_by_name(program, "mkdir", 0x4F, 0, 1) == ALLOW
    assert decide_by_name(program, "mkdir", 0x5F, 0, 2) == ALLOW


def test_an_argument_compared_twice_is_either() -> None:
    args = (spec.SeccompArg(0, 1, "SCMP_CMP_EQ"), spec.SeccompArg(0, 2, "SCMP_CMP_EQ"))
    program = compiled(spec.SeccompSyscalls(("mkdir",), "SCMP_ACT_ERRNO", args=args))
    assert [decide_by_name(program, "mkdir", value) for value in (1, 2, 3)] == [
        refused(errno.EPERM),
        refused(errno.EPERM),
        ALLOW,
    ]


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (spec.Seccomp("SCMP_ACT_JUMP"), "unknown action: 'SCMP_ACT_JUMP'"),
        (spec.Seccomp("SCMP_ACT_NOTIFY"), "unknown action: 'SCMP_ACT_NOTIFY'"),
        (spec.Seccomp("SCMP_ACT_ALLOW", 5), "SCMP_ACT_ALLOW has no errnoRet"),
        (spec.Seccomp("SCMP_ACT_ERRNO", 1 << 20), "errnoRet 1048576 is out of range"),
        (spec.Seccomp("SCMP_ACT_ALLOW", architectures=("SCMP_ARCH_Z80",)), "'SCMP_ARCH_Z80'"),
        (spec.Seccomp("SCMP_ACT_ALLOW", flags=("F",)), "flags: unknown: 'F'"),
        (spec.Seccomp("SCMP_ACT_ALLOW", listener_path="/s"), "listenerPath: not supported"),
        *(
            (spec.Seccomp("SCMP_ACT_ALLOW", syscalls=(rule,)), message)
            for rule, message in (
                (spec.SeccompSyscalls(("read",), "X"), "unknown action: 'X'"),
                (
                    spec.SeccompSyscalls(
                        ("read",), "SCMP_ACT_KILL", args=(spec.SeccompArg(6, 0, "SCMP_CMP_EQ"),)
                    ),
                    "no system call has argument 6",
                ),
                (
                    spec.SeccompSyscalls(
                        ("read",), "SCMP_ACT_KILL", args=(spec.SeccompArg(0, 0, "EQ"),)
                    ),
                    "unknown operator: 'EQ'",
                ),
            )
        ),
    ],
)
def test_what_is_wrong_with_a_profile_is_named(profile: spec.Seccomp, message: str) -> None:
    with pytest.raises(NativeError, match=r"linux\.seccomp") as caught:
        seccomp.compile_profile(profile)
    assert message in str(caught.value)


PROFILE = spec.Seccomp(
    "SCMP_ACT_ALLOW", syscalls=(spec.SeccompSyscalls(("mkdir",), "SCMP_ACT_ERRNO"),)
)


def test_kept_programs_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seccomp.save(PROFILE, tmp_path)
    program = seccomp.compile_profile(PROFILE)

    def never(_text: bytes) -> bytes:
        raise AssertionError("compiled again")

    monkeypatch.setattr(seccomp, "_compile", never)
    assert seccomp.load(PROFILE, tmp_path) == program


@pytest.mark.parametrize("damage", ["truncated", "changed", "another profile's", "empty", "absent"])
def test_damaged_programs_are_made_again(tmp_path: Path, damage: str) -> None:
    seccomp.save(PROFILE, tmp_path)
    file = tmp_path / seccomp.PROGRAM_FILE
    data = file.read_bytes()
    if damage == "another profile's":
        seccomp.save(spec.Seccomp("SCMP_ACT_ALLOW"), tmp_path)
    elif damage == "absent":
        file.unlink()
    else:
        changed = data[:40] + b"\xff" + data[41:]
        file.write_bytes({"truncated": data[:-8], "changed": changed, "empty": b""}[damage])
    assert decide_by_name(seccomp.load(PROFILE, tmp_path), "mkdir") == refused(errno.EPERM)


# Docker's format


def read(
    document: object, *held: str, machine: str = "x86_64", release: str = "6.1.0-13-amd64"
) -> spec.Seccomp:
    return seccompprofile.read(json.dumps(document), held, machine, release)


def rule(**fields: object) -> dict[str, object]:
    return {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", **fields}


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        ({}, True),
        ({"includes": {"caps": ["CAP_KILL"]}}, True),
        ({"includes": {"caps": ["CAP_KILL", "CAP_BPF"]}}, False),
        ({"excludes": {"caps": ["CAP_KILL", "CAP_BPF"]}}, False),
        ({"excludes": {"caps": ["CAP_BPF"]}}, True),
        ({"includes": {"arches": ["amd64", "x32"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"includes": {"minKernel": "4.8"}}, True),
        ({"includes": {"minKernel": "6.2"}}, False),
        ({"excludes": {"minKernel": "6.1"}}, False),
        ({"comment": "x", "includes": None, "args": None}, True),
    ],
)
def test_conditions_of_a_docker_profile(condition: dict[str, object], applies: bool) -> None:
    made = read({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(**condition)]}, "CAP_KILL")
    assert (made.syscalls != ()) == applies


def test_architectures_of_a_docker_profile() -> None:
    entry = {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}
    document = {"defaultAction": "SCMP_ACT_ALLOW", "archMap": [entry]}
    assert read(document).architectures == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86")
    assert read(document, machine="aarch64").architectures == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Decoding seccomp profile failed"),
        ("[]", "Decoding seccomp profile failed"),
        ("{}", "it has no defaultAction"),
        ('{"defaultAction": "SCMP_ACT_NONE"}', "unknown action"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"]}]}',
         "both 'name' and 'names' are specified"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], '
         '"archMap": [{"architecture": "SCMP_ARCH_X86"}]}', "both 'architectures' and 'archMap'"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "action": "SCMP_ACT_LOG", '
         '"includes": {"minKernel": "new"}}]}', "invalid kernel version"),
        ("x" * (2 << 20), "larger than 1 MiB"),
    ],
)  # fmt: skip
def test_wrong_docker_profiles_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        security.check([f"seccomp={text}"])


# SecurityOpt


def test_options_are_read() -> None:
    asked = security.parse(
        ["no-new-privileges", "seccomp=unconfined", "apparmor=unconfined", "label=disable",
         "label:disable", "disable", "writable-cgroups=1"]
    )  # fmt: skip
    assert asked == security.Security(True, "unconfined", "unconfined", True)
    assert not security.parse(["no-new-privileges", "no-new-privileges=false"]).no_new_privileges
    assert security.parse(["no-new-privileges:true"]).no_new_privileges


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("bogus", 'invalid --security-opt 1: "bogus"'),
        ("bogus=1", 'invalid --security-opt 2: "bogus=1"'),
        ("no-new-privileges=maybe", 'invalid --security-opt 2: "no-new-privileges=maybe"'),
        ("systempaths=unconfined", 'invalid --security-opt 2: "systempaths=unconfined"'),
    ],
)
def test_other_options_are_refused(option: str, message: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        security.parse([option])
    assert str(caught.value) == message


@pytest.mark.parametrize("option", ["label=type:x_t", "apparmor=no-such-system"])
def test_labels_are_not_there(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "_APPARMOR", Path("/no/such"))
    with pytest.raises(UnsupportedError, match=option.partition("=")[0]):
        security.check([option])


@pytest.mark.parametrize(
    ("value", "privileged", "filtered"),
    [("", False, True), ("builtin", True, True), ("", True, False), ("unconfined", False, False)],
)
def test_who_has_a_filter(value: str, privileged: bool, filtered: bool) -> None:
    asked = security.Security(seccomp=value)
    made = security.profile_of(asked, capabilities.DEFAULT, privileged=privileged)
    assert (made is not None) == filtered
