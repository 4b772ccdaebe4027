"""Probes of the kernel: namespaces, mounts, overlay, seccomp, processes, capabilities.

Each tries the thing; must not know cgroups or what is installed.
"""

import contextlib
import ctypes
import ctypes.util
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aiod.doctor import overlays, trial
from aiod.doctor.findings import AbsentError, LessError, Probe, Subject
from aiod.native import capabilities, proc

_TOPIC = "kernel"
_NEWNS = 0x20000
_NAMESPACES = {
    "mount": _NEWNS, "pid": 0x20000000, "ipc": 0x8000000, "uts": 0x4000000,
    "network": 0x40000000, "cgroup": 0x2000000,
}  # fmt: skip
_NEWUSER = 0x10000000
_LAYERS = 120
_WANTED = {
    *capabilities.DEFAULT, "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_PTRACE",
    "CAP_DAC_READ_SEARCH",
}  # fmt: skip
_PR_GET_SECCOMP, _SECCOMP_GET_ACTION_AVAIL, _SECCOMP = 21, 2, {"x86_64": 317, "aarch64": 277}


def _release(subject: Subject) -> str:
    name = os.uname()
    return f"Linux {name.release} {name.machine}, boot {proc.boot_id()}"


def _namespace(flag: int, kind: str) -> str:
    def attempt() -> str:
        trial.unshare(flag, f"new {kind} namespace")
        return kind

    return trial.in_child(attempt)


def _namespaces(subject: Subject) -> str:
    return ", ".join(_namespace(flag, kind) for kind, flag in _NAMESPACES.items())


def _user_namespace(subject: Subject) -> str:
    _namespace(_NEWUSER, "user")
    most = Path("/proc/sys/user/max_user_namespaces").read_text().strip()
    return f"up to {most}"


def _mount_calls(subject: Subject) -> str:
    # Impossible arguments: a kernel that has the call refuses them with another error.
    found = trial.syscall(trial.MOUNT_SETATTR, -1, b"", 0, None, 0)
    if found == -errno.ENOSYS:
        raise AbsentError("no mount_setattr(2), which Linux has since 5.12")
    if found == -errno.EPERM:
        raise AbsentError("mount_setattr(2) is forbidden")
    return "open_tree, move_mount, mount_setattr"


def _processes(subject: Subject) -> str:
    os.close(os.pidfd_open(os.getpid()))
    if trial.syscall(trial.CLONE3, None, 0) == -errno.ENOSYS:
        raise AbsentError("no clone3(2), or it is forbidden here")
    return "clone3, pidfd_open"


@contextlib.contextmanager
def _scratch(subject: Subject) -> Iterator[str]:
    """A directory on the file system where the layers would be."""
    place = tempfile.mkdtemp(prefix=".aiod-doctor.", dir=subject.home)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _overlay(subject: Subject) -> str:
    with _scratch(subject) as place:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"{place}/{name}")
        Path(f"{place}/lower/file").write_text("x")

        def attempt() -> str:
            _private_mounts()
            options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
            trial.mount("overlay", f"{place}/merged", "overlay", 0, options)
            # What whiteouts and opaque directories are made of.
            os.remove(f"{place}/merged/file")
            os.mkdir(f"{place}/merged/file")
            os.getxattr(f"{place}/upper/file", "trusted.overlay.opaque")
            return f"with its upper directory on {subject.home}"

        return trial.in_child(attempt)


def _private_mounts() -> None:
    trial.unshare(_NEWNS, "new mount namespace")
    trial.mount("", "/", "", trial.MS_REC | trial.MS_PRIVATE, "")


def _snapshots(subject: Subject) -> str:
    if problem := overlays.problem(subject.home):
        raise LessError(f"native: each container gets a copy of its image ({problem})")
    return "overlay"


def _layers(subject: Subject) -> str:
    with _scratch(subject) as place:
        for number in range(_LAYERS):
            os.mkdir(f"{place}/{number}")

        def attempt() -> str:
            _private_mounts()
            context = trial.syscall(trial.FSOPEN, b"overlay", 1)
            if context < 0:
                raise OSError(-context, f"fsopen: {os.strerror(-context)}")
            for number in range(_LAYERS):
                layer = f"{place}/{number}".encode()
                said = trial.syscall(trial.FSCONFIG, context, 1, b"lowerdir+", layer, 0)
                if said < 0:
                    raise OSError(-said, f"lowerdir+: {os.strerror(-said)}")
            made = trial.syscall(trial.FSCONFIG, context, 6, None, None, 0)
            if made < 0:
                raise OSError(-made, f"overlay of {_LAYERS} layers: {os.strerror(-made)}")
            return f"{_LAYERS} layers, each given on its own"

        return trial.in_child(attempt)


def _seccomp(subject: Subject) -> str:
    if not _has_filters():
        raise AbsentError("the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)")
    name = ctypes.util.find_library("seccomp")
    if name is None:
        raise AbsentError("libseccomp is not installed")
    major, minor, micro = _seccomp_version(name)
    return f"filters, libseccomp {major}.{minor}.{micro}"


def _has_filters() -> bool:
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    return actions.exists() and "errno" in actions.read_text().split()


def _seccomp_version(name: str) -> tuple[int, int, int]:
    class Version(ctypes.Structure):
        _fields_ = [(part, ctypes.c_uint) for part in ("major", "minor", "micro")]

    library = ctypes.CDLL(name)
    library.seccomp_version.restype = ctypes.POINTER(Version)
    found = library.seccomp_version().contents
    return found.major, found.minor, found.micro


def _held() -> set[str]:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            bits = int(line.split()[1], 16)
            return {name for name, number in capabilities.NUMBERS.items() if bits >> number & 1}
    raise AbsentError("/proc/self/status names no capabilities")


def _root(subject: Subject) -> str:
    if os.geteuid() != 0:
        raise AbsentError(f"this is user {os.geteuid()}")
    return "user 0"


def _capabilities(subject: Subject) -> str:
    if missing := sorted(_WANTED - _held()):
        raise AbsentError(f"without {', '.join(missing)}")
    return f"all {len(_WANTED)} that it uses or gives to containers"


def _resource(subject: Subject) -> str:
    if "CAP_SYS_RESOURCE" not in _held():
        raise LessError("no CAP_SYS_RESOURCE: no limit can be raised, no oom score lowered")
    return "limits may be raised"


def _security_modules(subject: Subject) -> str:
    path = Path("/sys/kernel/security/lsm")
    names = path.read_text().strip() if path.is_file() else ""
    enforcing = Path("/sys/fs/selinux/enforce")
    if enforcing.exists() and enforcing.read_text().strip() == "1":
        raise LessError("SELinux enforces: aiod labels no files yet")
    if "apparmor" in names.split(","):
        return f"{names}; containers run without an AppArmor profile of their own"
    return f"{names or 'none told'}; neither AppArmor nor SELinux is in force"


PROBES = (
    Probe(_TOPIC, "release", _release, "boot Linux 5.12 or later"),
    Probe(_TOPIC, "namespaces", _namespaces,
          "run as root on a kernel with namespaces; in a container, run that one with more"
          " privileges (CAP_SYS_ADMIN)"),
    Probe(_TOPIC, "user namespaces", _user_namespace,
          "sysctl user.max_user_namespaces=15000, for containers with an id map", needed=False),
    Probe(_TOPIC, "mount calls", _mount_calls,
          "boot Linux 5.12 or later; in a container, allow mount_setattr in its seccomp profile"),
    Probe(_TOPIC, "processes", _processes,
          "boot Linux 5.3 or later; in a container, allow clone3 in its seccomp profile"),
    Probe(_TOPIC, "overlay", _overlay,
          "modprobe overlay, and put --root on a file system that can hold an upper directory"
          " (ext4, xfs with ftype=1, btrfs; not overlay itself, not NFS); without one,"
          " containers get copies and nothing is built", needed=False),
    Probe(_TOPIC, "snapshots", _snapshots,
          "as for overlay; or leave it so, which costs time and space for each container"),
    Probe(_TOPIC, "overlay layers", _layers,
          "nothing needs doing: aiod falls back to mount(2), enough for hundreds",
          needed=False),
    Probe(_TOPIC, "seccomp", _seccomp, "apt-get install libseccomp2; boot a kernel with"
          " CONFIG_SECCOMP_FILTER"),
    Probe("privileges", "root", _root, "run as root: sudo aiod doctor"),
    Probe("privileges", "capabilities", _capabilities,
          "give the service these capabilities (CapabilityBoundingSet= of a unit, --cap-add of a"
          " container it runs in)"),
    Probe("privileges", "resources", _resource,
          "give CAP_SYS_RESOURCE, if containers ask for more than their parent has",
          needed=False),
    Probe("privileges", "security modules", _security_modules,
          "setenforce 0, or run containers that need no labels", needed=False),
)  # fmt: skip
