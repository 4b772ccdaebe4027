"""Mounts that come and go on the host while a container runs, and the other way round."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from aiod.native import runtime, spec
from tests.support.containers import Box, extract

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and mounts")

replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
def box(tmp_path: Path, lower: Path) -> Iterator[Box]:
    box = Box(tmp_path, (lower,))
    yield box
    box.close()
    shutil.rmtree(tmp_path)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A mount whose propagation is shared, whatever the host's is."""
    directory = tmp_path / "shared"
    directory.mkdir()
    mount("--bind", str(directory), str(directory))
    mount("--make-shared", str(directory))
    (directory / "below").mkdir()
    yield directory
    subprocess.run(["umount", "-R", str(directory)], check=True)


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def started(box: Box, shared: Path, *options: str) -> tuple[runtime.Task, spec.Spec]:
    bound = spec.Mount("/data", "bind", str(shared), ("rbind", *options))
    return box.sleeper(mounts=(bound,), capabilities=ADMIN)


ADMIN = spec.Capabilities(*[("CAP_SYS_ADMIN",)] * 4)


def seen_inside(box: Box, sleeper: runtime.Task, container: spec.Spec) -> bool:
    """Whether the container sees what the host mounts now."""
    process = spec.Process(args=("ls", "/data/below"), env=("PATH=/bin",))
    return "sign" in box.exec(sleeper, container, process).output


def mounted_inside(box: Box, sleeper: runtime.Task, container: spec.Spec) -> None:
    process = spec.Process(
        args=("mount", "-t", "tmpfs", "inner", "/data/below"),
        env=("PATH=/bin",),
        capabilities=ADMIN,
    )
    assert box.exec(sleeper, container, process).code == 0


@pytest.mark.parametrize(
    ("option", "inwards", "outwards"),
    [
        ("rprivate", False, False),
        ("rslave", True, False),
        ("rshared", True, True),
        ("private", False, False),
        ("slave", True, False),
        ("shared", True, True),
    ],
)
def test_propagation_of_a_bind(
    box: Box, shared: Path, option: str, inwards: bool, outwards: bool
) -> None:
    sleeper, container = started(box, shared, option)
    mount("-t", "tmpfs", "outer", str(shared / "below"))
    (shared / "below/sign").touch()
    assert seen_inside(box, sleeper, container) == inwards
    subprocess.run(["umount", str(shared / "below")], check=True)
    mounted_inside(box, sleeper, container)
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    assert any(f"{shared}/below " in line for line in lines) == outwards


@pytest.mark.parametrize(
    ("asked", "words"),
    [("", "master:"), ("rprivate", ""), ("rslave", "master:"), ("rshared", "shared:"),
     ("runbindable", "unbindable")],
)  # fmt: skip
def test_propagation_of_the_root(box: Box, shared: Path, asked: str, words: str) -> None:
    """A root on a shared mount is at most a receiver, unless more is asked for."""
    root = shared / "root"
    shutil.copytree(box.lower[0], root, symlinks=True)
    made = box.describe("cat", "/proc/self/mountinfo")
    made = replace(
        made,
        mounts=tuple(m for m in made.mounts[1:] if m.destination == "/proc"),
        root=spec.Root(str(root)),
        linux=replace(made.linux, rootfs_propagation=asked),
    )
    (line,) = [line for line in box.run(made).output.splitlines() if line.split()[4] == "/"]
    fields = line.split(" - ")[0].split()[6:]
    assert (words in " ".join(fields)) if words else fields == []


def test_nothing_mounted_inside_reaches_the_host(box: Box, shared: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text().count(str(shared))
    box.run(box.describe("true", mounts=(spec.Mount("/data", "bind", str(shared), ("rbind",)),)))
    assert Path("/proc/self/mountinfo").read_text().count(str(shared)) == before
