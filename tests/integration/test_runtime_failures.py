"""Every step that fails is named, with the system's reason, and leaves nothing behind."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from aiod.native import plan, runtime, spec
from aiod.native.errors import NativeError
from tests.support import mounts
from tests.support.containers import NAMESPACES, Box, extract
from tests.support.processes import children

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and mounts")

replace = msgspec.structs.replace
USER = (*NAMESPACES, spec.Namespace("user"))
KILL_ALL = spec.Seccomp("SCMP_ACT_KILL_PROCESS")


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
def box(tmp_path: Path, lower: Path) -> Iterator[Box]:
    before, others = len(os.listdir("/proc/self/fd")), children()
    box = Box(tmp_path, (lower,))
    yield box
    box.close()
    assert mounts.mount_points(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before
    assert children() == others
    shutil.rmtree(tmp_path)


def failure(box: Box, container: spec.Spec) -> str:
    with pytest.raises(NativeError) as caught:
        box.create(container)
    return str(caught.value)


def linux(box: Box, **fields: object) -> spec.Spec:
    made = box.describe("true")
    return replace(made, linux=replace(made.linux, **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"sysctl": {"net.ipv4.ip_forward": "much"}},
            'set sysctl "net.ipv4.ip_forward": invalid argument',
        ),
        (
            {"sysctl": {"net.absent": "1"}},
            'set sysctl "net.absent": no such file or directory',
        ),
        (
            {"devices": (spec.Device("c", "/proc/x/y", 1, 3),)},
            'make the device "/proc/x/y": no such file or directory',
        ),
        (
            {"devices": (spec.Device("b", "/etc/passwd/x", 7, 0),)},
            'make the device "/etc/passwd/x": not a directory',
        ),
        (
            {"namespaces": USER, "uid_mappings": (spec.IdMapping(0, 1, 0),)},
            "write the id maps: invalid argument",
        ),
        (
            {"namespaces": (*NAMESPACES[:-1], spec.Namespace("network", "/absent"))},
            'join the network namespace "/absent": no such file or directory',
        ),
        (
            {"namespaces": (*NAMESPACES[:-1], spec.Namespace("network", "/proc/self/ns/mnt"))},
            'join the network namespace "/proc/self/ns/mnt": invalid argument',
        ),
        ({"readonly_paths": ("/" + "y" * 300,)}, 'y" read-only: file name too long'),
        ({"readonly_paths": ("/proc/self/fd/0/x",)}, "too many levels of symbolic links"),
        ({"masked_paths": ("/" + "y" * 300,)}, "file name too long"),
        (
            {"seccomp": replace(KILL_ALL, flags=("SECCOMP_FILTER_FLAG_NEW",))},
            "linux.seccomp.flags: unknown",
        ),
    ],
)
def test_of_the_linux_part(box: Box, fields: dict[str, object], message: str) -> None:
    told = failure(box, linux(box, **fields))
    assert message in told


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cwd": "/etc/passwd"}, 'chdir to cwd ("/etc/passwd"): not a directory'),
        ({"cwd": "/proc/new"}, 'chdir to cwd ("/proc/new"): no such file or directory'),
        ({"user": spec.User(2**32 - 1)}, "process.user: no id: 4294967295"),
        ({"user": spec.User(0, -1)}, "process.user: no id: -1"),
        ({"user": spec.User(0, 0, None, (2**32,))}, "process.user: no id: 4294967296"),
        ({"oom_score_adj": 2000}, "set oom_score_adj: invalid argument"),
        (
            {"apparmor_profile": "absent"},
            'apply the AppArmor profile "absent": no such file or directory',
        ),
        ({"selinux_label": "absent"}, 'apply the SELinux label "absent": invalid argument'),
        (
            {"capabilities": spec.Capabilities((), (), (), (), ("CAP_CHOWN",))},
            "set the capabilities: operation not permitted",
        ),
        (
            {"capabilities": spec.Capabilities((), ("CAP_CHOWN",), (), (), ())},
            "set the capabilities: operation not permitted",
        ),
    ],
)
def test_of_the_process(box: Box, fields: dict[str, object], message: str) -> None:
    made = box.describe("true")
    assert made.process is not None
    assert failure(box, replace(made, process=replace(made.process, **fields))) == message


def test_of_the_names(box: Box) -> None:
    made = box.describe("true")
    told = failure(box, replace(made, hostname="x" * 70))
    assert told == f'set the hostname "{"x" * 70}": invalid argument'
    told = failure(box, replace(made, domainname="x" * 70))
    assert told == f'set the domain name "{"x" * 70}": invalid argument'


def test_of_the_root(box: Box) -> None:
    made = box.describe("true")
    options = made.mounts[0].options
    broken = tuple("lowerdir=/absent" if o.startswith("lowerdir") else o for o in options)
    told = failure(box, replace(made, mounts=(replace(made.mounts[0], options=broken),)))
    assert told.startswith('mount "overlay" on "/": no such file or directory')
    told = failure(box, replace(made, mounts=(), root=spec.Root("/absent")))
    assert told == 'bind the root "/absent": no such file or directory'


def test_of_the_terminal(box: Box) -> None:
    made = box.describe("true", terminal=True)
    without = tuple(mount for mount in made.mounts if mount.type != "devpts")
    told = failure(box, replace(made, mounts=without))
    assert told == "open a terminal: no such file or directory"


def test_of_the_cgroup(box: Box) -> None:
    class Refusing:
        def add(self, pid: int) -> None:
            raise NativeError("cgroup cgroup.procs", 16)

    null = os.open("/dev/null", os.O_RDWR)
    try:
        with pytest.raises(NativeError, match=r"cgroup cgroup\.procs: device or resource busy"):
            runtime.create(
                plan.build_plan(box.describe("true"), box.base), (null, null, null), Refusing()
            )
    finally:
        os.close(null)


def test_of_a_filter_that_forbids_the_rest(box: Box) -> None:
    """The process ends by the filter itself: that is told, and not waited for."""
    told = failure(box, linux(box, seccomp=KILL_ALL))
    assert told == "create: the process ended unexpectedly"


def test_of_an_exec(box: Box) -> None:
    sleeper, container = box.sleeper()
    with pytest.raises(NativeError, match=r'chdir to cwd \("/etc/passwd"\): not a directory'):
        box.exec(sleeper, container, spec.Process(args=("true",), cwd="/etc/passwd"))
    limits = (spec.Rlimit("RLIMIT_NOFILE", 2, 1),)
    with pytest.raises(NativeError, match="limit RLIMIT_NOFILE: invalid argument"):
        box.exec(sleeper, container, spec.Process(args=("true",), rlimits=limits))
