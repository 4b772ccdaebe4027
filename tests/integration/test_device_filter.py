"""Device rules on the version 2 hierarchy: what the kernel then allows a process there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiod.native import spec
from aiod.native.cgroups import Cgroup, Layout, detect_layout
from aiod.native.errors import NativeError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: cgroups and bpf")

Rule = spec.DeviceCgroup
NOTHING = Rule(allow=False)
ASKED = (("/dev/zero", os.O_RDONLY), ("/dev/zero", os.O_WRONLY), ("/dev/full", os.O_RDONLY))


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    unified = detect_layout().unified
    assert unified is not None, "no version 2 hierarchy is mounted"
    # As on a host that has version 2 alone.
    made = Cgroup(Layout({}, unified, frozenset()), f"/aiod-test-devices-{os.getpid()}")
    made.create()
    yield made
    made.remove()
    assert not made.exists()


def opened(cgroup: Cgroup) -> list[bool]:
    """Which of `ASKED` a process in the cgroup may open."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        cgroup.add(os.getpid())
        for path, flags in ASKED:
            try:
                os.close(os.open(path, flags))
                os.write(write, b"y")
            except PermissionError:
                os.write(write, b"n")
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answers:
        words = answers.read().decode()
    os.waitpid(child, 0)
    return [word == "y" for word in words]


def apply(cgroup: Cgroup, *rules: Rule) -> None:
    cgroup.apply(spec.Resources(devices=rules))


def test_rules_hold_and_replace_each_other(cgroup: Cgroup) -> None:
    assert opened(cgroup) == [True, True, True]
    apply(cgroup, NOTHING, Rule(True, "c", 1, 5, "r"))
    assert opened(cgroup) == [True, False, False]
    apply(cgroup, Rule(True), Rule(False, "c", 1, 7))
    assert opened(cgroup) == [True, True, False]
    apply(cgroup, NOTHING)
    assert opened(cgroup) == [False, False, False]
    cgroup.apply(spec.Resources(pids=None))
    assert opened(cgroup) == [False, False, False]


def test_a_child_has_no_more_than_its_parent(cgroup: Cgroup) -> None:
    apply(cgroup, NOTHING, Rule(True, "c", 1, 5))
    unified = detect_layout().unified
    below = Cgroup(Layout({}, unified, frozenset()), f"{cgroup.path}/below")
    below.create()
    apply(below, Rule(True))
    assert opened(below) == [True, True, False]


def test_a_directory_that_is_not_there_is_named(cgroup: Cgroup) -> None:
    unified = detect_layout().unified
    absent = Cgroup(Layout({}, unified, frozenset()), f"{cgroup.path}/absent")
    with pytest.raises(NativeError, match=r'cgroup devices of ".*/absent": no such file'):
        apply(absent, NOTHING)
    assert not Path(f"{unified}{absent.path}").exists()
