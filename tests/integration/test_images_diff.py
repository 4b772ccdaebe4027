"""What a container wrote as a layer: on its lower layers it is the same tree again."""

import contextlib
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiod.errors import InternalError
from aiod.images.diff import store_diff, write_upper
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
