"""The power fails: what was answered is on disk, and what has its final name is whole.

The root is on an ext4 of its own that is shut down without its journal being flushed, as a power
cut does it (EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH), then mounted again.
"""

import fcntl
import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiod.config import Paths
from tests.drills.imagetour import ImageTour, sound
from tests.drills.test_images_killed import attempt
from tests.drills.tour import Walk
from tests.support import leaks
from tests.support.daemon import AiodDaemon
from tests.support.engine import eventually
from tests.support.registry import Registry

_SHUTDOWN, _NOLOGFLUSH = 0x8004587D, 2
_SIZE = 600 << 20
POINTS = [
    "content.written", "content.renamed", "layer.unpacked", "layer.synced", "layer.renamed",
    "load.recorded", "collect.blob-condemned", "collect.layer-condemned", "collect.condemned",
    "collect.deleted",
]  # fmt: skip


class Disk:
    """A file system that can lose power."""

    def __init__(self, image: Path, place: Path) -> None:
        self._image = image
        self.place = place
        with image.open("wb") as file:
            file.truncate(_SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)

    def mount(self) -> None:
        """Also replays the journal, as a boot does."""
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.place)], check=True)

    def unmount(self) -> None:
        """Once those who die with the daemon are gone, and from every mount namespace."""
        eventually(lambda: subprocess.run(["umount", str(self.place)]).returncode, lambda e: e == 0)
        eventually(self._loops, lambda found: not found)

    def _loops(self) -> bytes:
        command = ["losetup", "-j", str(self._image)]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def cut(self) -> None:
        """From here on nothing reaches the disk."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        finally:
            os.close(descriptor)


@pytest.fixture(scope="class")
def disk(scratch: Path) -> Iterator[Disk]:
    """A disk of a test's own."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        place = Path(directory, "m")
        place.mkdir()
        made = Disk(Path(directory, "image"), place)
        made.mount()
        yield made
        made.unmount()


@pytest.fixture(scope="class")
def powered(disk: Disk, class_daemon: AiodDaemon) -> AiodDaemon:
    """A daemon whose root is on it."""
    class_daemon.paths = Paths(disk.place / "r", class_daemon.paths.state)
    class_daemon.start()
    return class_daemon


@pytest.fixture(scope="class")
def tour(powered: AiodDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageTour]:
    scratch = tmp_path_factory.mktemp("powered")
    with Registry(scratch / "registry") as registry:
        yield ImageTour(powered, registry, scratch)


def assert_sound_after(disk: Disk, daemon: AiodDaemon) -> None:
    """Boot again; nothing is damaged, missing or left over."""
    disk.unmount()
    disk.mount()
    daemon.start()
    with daemon.api() as api:
        sound(api)
    leaks.assert_none(daemon)


def names(daemon: AiodDaemon) -> set[str]:
    with daemon.api() as api:
        return {tag for image in api.call("GET", "/images/json") for tag in image["RepoTags"]}


@pytest.mark.parametrize("operation", ["load", "import", "pull", "build", "delete"])
def test_what_was_answered_is_on_disk(
    disk: Disk, powered: AiodDaemon, tour: ImageTour, operation: str
) -> None:
    if operation == "delete":
        assert attempt(powered, tour, "load")
    assert attempt(powered, tour, operation)
    before = names(powered)
    disk.cut()
    powered.sigkill()
    assert_sound_after(disk, powered)
    assert names(powered) == before
    assert attempt(powered, tour, operation)


@pytest.fixture(scope="class")
def walk(disk: Disk, powered: AiodDaemon, tour: ImageTour) -> Iterator[Walk]:
    """Operations on one disk; nothing is damaged, missing or left over whenever it is booted."""

    def settled() -> None:
        with powered.api() as api:
            sound(api)
        leaks.assert_none(powered)

    walk = Walk(powered, tour.stages("load", "collect", "delete"), settled)
    yield walk
    walk.complete()
    settled()


class TestCutAtEveryPoint:
    """The power goes with the daemon; the next goes on, on what is on disk."""

    @pytest.mark.parametrize("point", POINTS)
    def test_cut_at(self, disk: Disk, walk: Walk, point: str) -> None:
        walk.die_at(point)
        disk.cut()
        disk.unmount()
        disk.mount()
