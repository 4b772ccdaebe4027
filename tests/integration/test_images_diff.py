"""What a container wrote as a layer: on its lower layers it is the same tree again."""

import contextlib
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiod.errors import InternalError
from aiod.images.diff import Parts, UpperWriter, store_diff, write_upper
from aiod.images.model import chain_id
from aiod.images.tarwriter import TarWriter
from tests.support import trees
from tests.support.pulling import image_service

OLD = 1_600_000_000


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    root = tmp_path / "lower"
    for name in ("etc", "kept", "emptied", "gone/deep", "replaced"):
        (root / name).mkdir(parents=True)
    for name in ("etc/conf", "kept/a", "kept/b", "emptied/x", "gone/deep/f", "replaced/y", "file"):
        (root / name).write_bytes(name.encode())
        os.utime(root / name, (OLD, OLD))
    return root


@contextlib.contextmanager
def overlay(lower: Path) -> Iterator[Path]:
    """A writable overlay on `lower`, at `merged` beside it."""
    places = {name: lower.with_name(name) for name in ("upper", "work", "merged")}
    for place in places.values():
        place.mkdir()
    words = f"lowerdir={lower},upperdir={places['upper']},workdir={places['work']}"
    command = ["mount", "-t", "overlay", "overlay", "-o", words, str(places["merged"])]
    subprocess.run(command, check=True, timeout=30)
    try:
        yield places["merged"]
    finally:
        subprocess.run(["umount", str(places["merged"])], check=True, timeout=30)


def change(root: Path) -> None:
    """One of everything that a container can do to its root."""
    (root / "etc/conf").write_bytes(b"changed")
    (root / "etc/conf").chmod(0o4755)
    os.chown(root / "etc/conf", 3, 5_000_000)
    (root / "kept/a").unlink()
    for name in ("gone", "emptied", "replaced"):
        subprocess.run(["rm", "-r", str(root / name)], check=True, timeout=30)
    (root / "emptied").mkdir(0o1777)
    (root / "emptied").chmod(0o1777)
    (root / "emptied/new").write_bytes(b"n" * 3_000_001)
    (root / "replaced").write_bytes(b"now a file")
    (root / "file").unlink()
    (root / "file").mkdir()
    (root / "hard").write_bytes(b"linked")
    os.link(root / "hard", root / "kept/hard2")
    (root / "soft").symlink_to("x" * 150)
    (root / ("long" * 40)).mkdir()
    (root / ("long" * 40) / "n\u00e4me").write_bytes(b"")
    (root / "empty").touch()
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "null", 0o666 | 0o020000, os.makedev(1, 3))
    os.setxattr(root / "file", "user.note", b"a\0b")
    os.setxattr(root / "etc/conf", "user.more", b"1")
    os.setxattr(root / "soft", "trusted.note", b"t", follow_symlinks=False)
    os.utime(root / "empty", (0, -5))


def written(upper: Path) -> bytes:
    out = io.BytesIO()
    tar = TarWriter(out.write)
    write_upper(upper, tar, threading.Event())
    tar.close()
    return out.getvalue()


async def test_the_same_tree_again(lower: Path, tmp_path: Path) -> None:
    with overlay(lower) as merged:
        change(merged)
    upper = tmp_path / "upper"
    with trees.mounted([upper, lower], tmp_path / "look") as root:
        wanted = trees.snapshot(root)
    parent = f"sha256:{'1' * 64}"
    async with image_service(tmp_path) as images, images.storing() as stores:
        made = await store_diff(stores, parent, lambda tar, stop: write_upper(upper, tar, stop))
        layer = images.layer_directory(made.layer.chain_id)
        assert made.layer.chain_id == chain_id(parent, made.layer.diff_id)
        with trees.mounted([layer, lower], tmp_path / "look2") as root:
            assert trees.snapshot(root) == wanted


def test_the_same_bytes_that_others_read(lower: Path, tmp_path: Path) -> None:
    with overlay(lower) as merged:
        change(merged)
    data = written(tmp_path / "upper")
    subprocess.run(["cp", "-a", str(tmp_path / "upper"), str(tmp_path / "copy")], check=True)
    assert written(tmp_path / "copy") == data
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
        assert {"kept/.wh.a", ".wh.gone", "emptied/.wh..wh..opq"} <= set(names)
        assert tar.getmember("etc/conf").gid == 5_000_000
        assert tar.getmember("kept/hard2").linkname == "hard"
        assert tar.getmember("file").pax_headers["SCHILY.xattr.user.note"] == "a\0b"
        assert tar.getmember("soft").linkname == "x" * 150
        assert len(names) == len(set(names))
    listed = subprocess.run(["tar", "-tf", "-"], input=data, capture_output=True, check=True)
    assert len(listed.stdout.splitlines()) == len(names)


def test_what_needs_more_than_the_upper_directory_is_refused(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    (upper / "moved").mkdir(parents=True)
    os.setxattr(upper / "moved", "trusted.overlay.redirect", b"/elsewhere")
    with pytest.raises(InternalError, match="redirect"):
        written(upper)


class Disturbed(UpperWriter):
    """Does something to what it is about to read, as a container that goes on may."""

    def __init__(self, out: io.BytesIO, deeds: dict[bytes, Callable[[], None]]) -> None:
        super().__init__(TarWriter(out.write), threading.Event())
        self._deeds = deeds

    def is_removal(self, status: os.stat_result) -> bool:
        """Asked between the look at an entry and its opening."""
        self._deeds.pop(self._name, lambda: None)()
        return super().is_removal(status)

    def wanted(self, parts: Parts) -> bool:
        """Asked before an entry is looked at."""
        self._name = b"/".join(parts)
        return True


def test_what_changes_while_it_is_read(tmp_path: Path) -> None:
    """What is gone is left out, what is another thing is taken as that, and all else is there."""
    root = tmp_path / "upper"
    for name in ("dir/inside", "gone", "first", "cut", "to-link", "to-dir", "kept"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"12345678" * 1000)
    os.link(root / "first", root / "second")
    (root / "dir2").mkdir()

    def other(name: str, make: Callable[[Path], None]) -> None:
        (root / name).unlink()
        make(root / name)

    deeds = {
        b"gone": (root / "gone").unlink,
        b"first": (root / "first").unlink,
        b"cut": lambda: os.truncate(root / "cut", 8),
        b"to-link": lambda: other("to-link", lambda path: path.symlink_to("kept")),
        b"to-dir": lambda: other("to-dir", Path.mkdir),
        b"dir": lambda: (root / "dir/inside").unlink(),
        b"dir2": (root / "dir2").rmdir,
    }
    out = io.BytesIO()
    writer = Disturbed(out, deeds)
    writer.root(root)
    writer.tar.close()
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        kinds = {member.name: member.type for member in archive}
        assert archive.getmember("to-link").linkname == "kept"
        second, kept = archive.extractfile("second"), archive.extractfile("kept")
        assert second is not None
        assert kept is not None
        assert second.read() == kept.read() == b"12345678" * 1000
    assert kinds == {
        "cut": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "kept": tarfile.REGTYPE,
        "second": tarfile.REGTYPE, "to-dir": tarfile.DIRTYPE, "to-link": tarfile.SYMTYPE,
    }  # fmt: skip


def test_a_file_that_is_cut_short_ends_in_zeros(tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(b"x" * 5000)

    class Cutting(UpperWriter):
        def read(self, fd: int, size: int) -> bytes:
            os.truncate(tmp_path / "cut", 1000)
            return super().read(fd, size)

    out = io.BytesIO()
    writer = Cutting(TarWriter(out.write), threading.Event())
    writer.root(tmp_path)
    writer.tar.close()
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        file = archive.extractfile("cut")
        assert file is not None
        assert file.read() == b"x" * 1000 + bytes(4000)
