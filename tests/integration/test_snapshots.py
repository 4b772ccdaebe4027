"""What every snapshotter does, whichever it is; and how one is chosen."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiod.doctor import overlays
from aiod.images.compression import Limits
from aiod.images.snapshots.choice import choose
from aiod.images.snapshots.model import Snapshotter, Stack
from aiod.images.snapshots.native import NativeSnapshotter
from aiod.images.snapshots.overlay import OverlaySnapshotter
from aiod.images.tarwriter import TarWriter
from aiod.images.unpack import unpack
from tests.integration.test_images_diff import change
from tests.support import rootfs, trees
from tests.support.daemon import AiodDaemon
from tests.support.layertars import directory, layer, link, member, soft

BOTTOM = [
    *(directory(name) for name in ("etc", "kept", "emptied", "gone", "gone/deep", "replaced")),
    *(member(name, name.encode()) for name in ("etc/conf", "kept/a", "kept/b", "emptied/x")),
    *(member(name, b"f") for name in ("gone/deep/f", "replaced/y", "file", "hidden", "old/1")),
    link("old/2", "old/1"),
    soft("to", "etc"),
    member("odd", b"x", mode=0o4711, uid=7, gid=8, pax_headers={"SCHILY.xattr.user.x": "y"}),
]
TOP = [member(".wh.hidden"), member("old/.wh..wh..opq"), member("old/3", b"3"), member("etc/top")]


@pytest.fixture(params=[OverlaySnapshotter, NativeSnapshotter])
def snapshotter(request: pytest.FixtureRequest) -> Snapshotter:
    made: Snapshotter = request.param()
    return made


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    layers = []
    for name, members in (("top", TOP), ("bottom", BOTTOM)):
        place = tmp_path / name
        place.mkdir()
        with open(tmp_path / f"{name}.tar", "w+b") as file:
            file.write(layer(members))
            file.seek(0)
            unpack(file, str(place), Limits(), threading.Event())
        layers.append(place)
    (tmp_path / "own").mkdir()
    return Stack(tmp_path / "own", tuple(layers))


@contextlib.contextmanager
def mounted(snapshotter: Snapshotter, stack: Stack) -> Iterator[Path]:
    at = stack.own.parent / "at"
    at.mkdir(exist_ok=True)
    for mount in snapshotter.mounts(stack):
        lower = [word[9:] for word in mount.options if word.startswith("lowerdir=")]
        words = [word for word in mount.options if not word.startswith("lowerdir=")]
        options = ",".join([*words, f"lowerdir={':'.join(lower)}"] if lower else words)
        command = ["mount", "-t", mount.kind, mount.source, str(at), "-o", options]
        command = [word for word in command if mount.kind != "bind" or word not in ("-t", "bind")]
        subprocess.run(command, check=True, timeout=30)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True, timeout=30)


def seen(stack: Stack) -> dict[bytes, trees.Node]:
    with trees.mounted(stack.layers, stack.own.parent / "look") as root:
        return trees.snapshot(root)


def test_it_shows_its_layers(snapshotter: Snapshotter, stack: Stack) -> None:
    snapshotter.prepare(stack)
    with mounted(snapshotter, stack) as root:
        assert trees.snapshot(os.fsencode(root)) == seen(stack)
        assert not (root / "hidden").exists()
    assert snapshotter.commit(stack) is None
    assert snapshotter.usage(stack).size == 0


def test_what_is_written_stays_and_leaves_the_layers_alone(
    snapshotter: Snapshotter, stack: Stack
) -> None:
    before = seen(stack)
    snapshotter.prepare(stack)
    with mounted(snapshotter, stack) as root:
        change(root)
    snapshotter.prepare(stack)
    with mounted(snapshotter, stack) as root:
        assert (root / "etc/conf").read_bytes() == b"changed"
        assert not (root / "gone").exists()
    assert seen(stack) == before
    assert 3_000_000 < snapshotter.usage(stack).size < 3_100_000


def test_its_layer_makes_the_same_tree(
    snapshotter: Snapshotter, stack: Stack, tmp_path: Path
) -> None:
    snapshotter.prepare(stack)
    with mounted(snapshotter, stack) as root:
        change(root)
        wanted = trees.snapshot(os.fsencode(root))
    write = snapshotter.commit(stack)
    assert write is not None
    with open(tmp_path / "layer.tar", "w+b") as file:
        tar = TarWriter(file.write)
        write(tar, threading.Event())
        tar.close()
        file.seek(0)
        (tmp_path / "made").mkdir()
        unpack(file, str(tmp_path / "made"), Limits(), threading.Event())
    assert not (tmp_path / "made/kept/b").exists()
    made = seen(Stack(stack.own, (tmp_path / "made", *stack.layers)))
    different = [p for p in made.keys() | wanted.keys() if made.get(p) != wanted.get(p)]
    assert [(made.get(path), wanted.get(path)) for path in different] == []


def test_views_show_it_without_a_mount(snapshotter: Snapshotter, stack: Stack) -> None:
    snapshotter.prepare(stack)
    views = snapshotter.views(stack)
    place = next(view for view in views if (view / "etc/conf").exists())
    assert (place / "etc/conf").read_bytes() == b"etc/conf"


def test_a_preparation_cut_short_is_begun_again(snapshotter: Snapshotter, stack: Stack) -> None:
    (stack.own / "root.making/half").mkdir(parents=True)
    snapshotter.prepare(stack)
    with mounted(snapshotter, stack) as root:
        assert trees.snapshot(os.fsencode(root)) == seen(stack)


def test_removed_it_is_gone(snapshotter: Snapshotter, stack: Stack) -> None:
    snapshotter.prepare(stack)
    with mounted(snapshotter, stack) as root:
        change(root)
    snapshotter.remove(stack)
    snapshotter.remove(stack)
    assert list(stack.own.iterdir()) == []


def test_holes_are_kept_by_copying(tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()
    with (tmp_path / "layer/sparse").open("wb") as file:
        file.truncate(1 << 33)
        file.seek(1 << 32)
        file.write(b"here")
    (tmp_path / "own").mkdir()
    NativeSnapshotter().prepare(Stack(tmp_path / "own", (tmp_path / "layer",)))
    copied = tmp_path / "own/root/sparse"
    assert (copied.stat().st_size, copied.stat().st_blocks < 100) == (1 << 33, True)
    with copied.open("rb") as file:
        file.seek(1 << 32)
        assert file.read(4) == b"here"


def test_chosen_by_what_works(tmp_path: Path) -> None:
    """An upper directory cannot be on an overlay."""
    assert overlays.problem(tmp_path) == ""
    assert choose("", tmp_path).default == "overlay"
    assert choose("native", tmp_path).default == "native"
    for name in ("l", "u", "w", "m"):
        (tmp_path / name).mkdir()
    words = f"lowerdir={tmp_path}/l,upperdir={tmp_path}/u,workdir={tmp_path}/w"
    subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", words, str(tmp_path / "m")], check=True
    )
    try:
        assert overlays.problem(tmp_path / "m") != ""
        assert choose("", tmp_path / "m").default == "native"
        assert list((tmp_path / "m").iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path / "m")], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l", "m", "u", "w"]


def test_containers_of_both_kinds_side_by_side(new_daemon: AiodDaemon) -> None:
    """Each keeps the one it was made with."""
    script = "cat /f; echo more >> /f; rm /etc/passwd; exit $(wc -l < /f)"
    new_daemon.start()
    with new_daemon.api() as api:
        stacked = api.run("sh", "-c", script)
        assert api.wait(stacked) == 1
    new_daemon.flags = ["--snapshotter", "native"]
    new_daemon.stop()
    new_daemon.start()
    with new_daemon.api() as api:
        copied = api.run("sh", "-c", script)
        assert api.wait(copied) == 1
        for container in (copied, stacked):
            api.start(container)
            assert api.wait(container) == 2
        names = [api.inspect(one)["GraphDriver"]["Name"] for one in (stacked, copied)]
        assert names == ["overlay2", "vfs"]
        size = api.call("GET", f"/containers/{copied}/json", size=1)["SizeRw"]
        assert size == len(b"more\n") * 2
        own = new_daemon.paths.container(copied)
        assert (own / "root/f").read_bytes() == b"more\nmore\n"
        for container in (copied, stacked):
            api.remove(container)
        assert not own.exists()


def test_an_image_of_128_layers_runs(daemon: AiodDaemon) -> None:
    layers = [rootfs.busybox_tar()]
    layers += [layer([member("deep", b"%d" % n), member(f"n/{n}", b"x")]) for n in range(127)]
    daemon.load(rootfs.docker_archive("deep:1", layers))
    with daemon.api() as api:
        container = api.run("sh", "-c", "cat /deep; ls /n | wc -l", image="deep:1")
        assert api.wait(container) == 0
        assert api.logs(container).split() == [b"126127"]
        api.remove(container)
