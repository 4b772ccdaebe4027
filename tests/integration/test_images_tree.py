"""What layers unpack to: the same archives, loaded by dockerd, show the same tree."""

import hashlib
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from aiod.images.service import ImageService
from tests.support import rootfs, trees
from tests.support.engine import Engine
from tests.support.layertars import Member, directory, docker_archive, layer, link, member
from tests.support.pulling import image_service

LONG = "n" * 120 + "/" + "m" * 200


def gnu_tar(tmp: Path, *options: str) -> bytes:
    """A sparse file as GNU tar itself writes it."""
    tree = tmp / "sparse"
    tree.mkdir()
    with (tree / "holes").open("wb") as file:
        for place in (0, 1 << 20, (8 << 20) - 4096):
            file.seek(place)
            file.write(b"data" * 1024)
    (tree / "hollow").touch()
    os.truncate(tree / "hollow", 5 << 20)
    for path in (tree / "holes", tree / "hollow", tree):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    command = ["tar", "-C", str(tree), "--sparse", *options, "-cf", "-", "."]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


CAPABILITY = "SCHILY.xattr.security.capability"
USER = "SCHILY.xattr.user.note"
CAP = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)

LOWER = [
    directory("d/"), member("d/gone", b"1"), member("d/kept", b"2"), directory("d/sub"),
    member("d/sub/x", b"x"), directory("opaque"), member("opaque/old", b"old"),
    directory("opaque/deep"), member("opaque/deep/old", b"old"), member("was-file", b"f"),
    directory("was-dir"), member("was-dir/in", b"i"), member("target", b"target"),
    directory("moved"), member("moved/a", b"a"),
]  # fmt: skip

CASES: dict[str, list[list[Member]]] = {
    "kinds": [[
        directory("dev"), member("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("dev/disk", type=tarfile.BLKTYPE, devmajor=7, devminor=300),
        member("fifo", type=tarfile.FIFOTYPE, mode=0o600), member("plain", b"data" * 5000),
        link("hard", "plain"), link("soft", "../../outside", tarfile.SYMTYPE),
        link("absolute", "/plain", tarfile.SYMTYPE), member("empty"),
    ]],
    "bits and owners": [[
        member("setuid", b"s", mode=0o4755, uid=0), member("setgid", b"s", mode=0o2755, gid=7),
        member("setuid-owned", b"s", mode=0o6711, uid=1000, gid=1000),
        directory("tmp", 0o1777), directory("closed", 0), directory("setgid-dir", 0o2775),
        member("setgid-dir/in", b"x"), member("big", b"b", uid=3_000_000_000, gid=2_200_000),
        member("unreadable", b"b", mode=0),
    ]],
    "names and times": [[
        member(LONG, b"long"), member("latin-\udce9", b"n"), member("new\nline", b"n"),
        member("./dotted//twice", b"n"), member("/rooted", b"r"), member("späce tab\t", b"n"),
        member("fraction", b"t", mtime=1_500_000_000.25), member("old", b"t", mtime=0),
        directory("timed", mtime=1_400_000_000), member("timed/later", b"t"),
        link("to-long", LONG), link("soft-long", "x" * 300, tarfile.SYMTYPE),
    ]],
    "deep, and up and down": [[
        member(f"{'/'.join('d' * depth)}/f{turn}", b"%d" % depth)
        for turn in range(2) for depth in (100, 1, 70, 69, 34, 33, 32, 5, 90)
    ] + [directory("d/d", mtime=1_400_000_000), directory("/".join("d" * 80), 0o700)]],
    "xattrs": [[
        member("cap", b"c", mode=0o755, pax_headers={CAPABILITY: CAP.decode("latin-1")}),
        member("note", b"c", pax_headers={USER: "hello"}),
        directory("noted", pax_headers={USER: "dir"}),
    ]],
    "whiteouts": [LOWER, [
        member("d/.wh.gone"), member("opaque/.wh..wh..opq"), member("opaque/new", b"new"),
        member(".wh.moved"), member("d/sub/.wh.x"), member("d/sub/.wh.never-was"),
    ]],
    "opaque after its content": [LOWER, [
        directory("opaque"), member("opaque/new", b"new"), member("opaque/.wh..wh..opq"),
    ]],
    "kinds replaced": [LOWER, [
        directory("was-file"), member("was-file/in", b"n"), member("was-dir", b"now a file"),
        link("d", "opaque", tarfile.SYMTYPE),
    ]],
    "empty layer": [LOWER, [], [member("after", b"a")]],
    "no parents": [[member("a/b/c/d", b"deep"), directory("a", 0o700)]],
    "root's own": [[directory("./", 0o711, uid=5, gid=6), member("a", b"a")]],
}  # fmt: skip


# Where Docker's graph drivers refuse or go against the image specification.
OURS: dict[str, list[list[Member]]] = {
    "whiteout and then again": [
        LOWER,
        [
            member(".wh.moved"),
            directory("moved"),
            member("moved/b", b"b"),
            member(".wh.target"),
            member("target", b"again"),
        ],
        [member("moved/c", b"c"), member("opaque/deep/new", b"n")],
    ],
    "duplicates": [
        [
            member("twice", b"first"),
            member("twice", b"second!"),
            directory("x"),
            member("x/in", b"i"),
            member("x", b"file now"),
            member("y", b"file"),
            directory("y"),
            member("y/in", b"i"),
            link("s", "twice", tarfile.SYMTYPE),
            member("s", b"not the target"),
            member("z", b"z"),
            link("z2", "z"),
            member("z", b"changed"),
            directory("m", 0o700),
            directory("m", 0o711),
        ]
    ],
}


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[ImageService]:
    async with image_service(tmp_path) as service:
        yield service


async def loaded(images: ImageService, archive: bytes, at: Path) -> dict[bytes, trees.Node]:
    async def body() -> AsyncIterator[bytes]:
        yield archive

    async for _ in images.load(body()):
        pass
    image = images.find("tree:1")
    layers = [images.layer_directory(one.chain_id) for one in reversed(image.layers)]
    with trees.mounted(layers, at) as root:
        return trees.snapshot(root)


def loaded_by(dockerd: Engine, archive: bytes, at: Path) -> dict[bytes, trees.Node]:
    dockerd.load(archive)
    with dockerd.api() as api:
        data = api.call("GET", "/images/tree:1/json")["GraphDriver"]["Data"]
        layers = [data["UpperDir"], *data.get("LowerDir", "").split(":")]
        try:
            with trees.mounted([Path(path) for path in layers if path], at) as root:
                return trees.snapshot(root)
        finally:
            api.call("DELETE", "/images/tree:1")


def differences(ours: dict[bytes, trees.Node], theirs: dict[bytes, trees.Node]) -> list[str]:
    return [
        f"{path!r}: aiod {ours.get(path)}, dockerd {theirs.get(path)}"
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path)
    ]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
@pytest.mark.parametrize("case", CASES)
async def test_same_tree(
    images: ImageService, dockerd: Engine, tmp_path: Path, case: str, form: int
) -> None:
    layers = [layer(members, form) for members in CASES[case]]
    archive = rootfs.docker_archive("tree:1", layers)
    theirs = loaded_by(dockerd, archive, tmp_path / "theirs")
    ours = await loaded(images, archive, tmp_path / "ours")
    assert differences(ours, theirs) == []


async def test_whiteout_hides_only_what_is_below(images: ImageService, tmp_path: Path) -> None:
    """A layer's own files stay, and do not bring back what its whiteout hid (image-spec,
    layer.md): dockerd's overlay2 shows `moved/a` again."""
    layers = [layer(members) for members in OURS["whiteout and then again"]]
    found = await loaded(images, rootfs.docker_archive("tree:1", layers), tmp_path / "ours")
    assert {b"moved/b", b"moved/c", b"target", b"opaque/deep/new"} <= found.keys()
    assert b"moved/a" not in found
    assert found[b"target"].size == len(b"again")


async def test_the_last_of_duplicates_counts(images: ImageService, tmp_path: Path) -> None:
    """dockerd refuses them; containerd and tar itself do this."""
    layers = [layer(members) for members in OURS["duplicates"]]
    found = await loaded(images, rootfs.docker_archive("tree:1", layers), tmp_path / "ours")
    sizes = {name: found[name].size for name in (b"twice", b"x", b"s", b"z", b"z2")}
    assert sizes == {b"twice": 7, b"x": 8, b"s": 14, b"z": 7, b"z2": 1}
    assert (found[b"y"].kind, found[b"m"].mode, b"x/in" in found) == ("d", 0o711, False)


SPARSE: dict[str, tuple[str, ...]] = {
    "old gnu": ("--format=gnu",),
    "pax 0.0": ("--format=pax", "--sparse-version=0.0"),
    "pax 0.1": ("--format=pax", "--sparse-version=0.1"),
    "pax 1.0": ("--format=pax", "--sparse-version=1.0"),
}


@pytest.mark.parametrize("kind", SPARSE)
async def test_sparse_files(
    images: ImageService, dockerd: Engine, tmp_path: Path, kind: str
) -> None:
    archive = rootfs.docker_archive("tree:1", [gnu_tar(tmp_path, *SPARSE[kind])])
    ours = await loaded(images, archive, tmp_path / "ours")
    if kind != "old gnu":  # which dockerd refuses
        theirs = loaded_by(dockerd, archive, tmp_path / "theirs")
        assert differences(ours, theirs) == []
    want = hashlib.sha256((tmp_path / "sparse/holes").read_bytes()).hexdigest()
    assert (ours[b"holes"].content, ours[b"hollow"].size) == (want, 5 << 20)
    assert ours[b"holes"].size == 8 << 20
    unpacked = images.layer_directory(images.find("tree:1").layers[0].chain_id)
    assert (unpacked / "holes").stat().st_blocks * 512 < 1 << 20  # the holes are still holes


async def test_what_docker_save_writes(
    images: ImageService, dockerd: Engine, tmp_path: Path
) -> None:
    """Loaded, saved by dockerd and loaded here: id, tree and config survive the journey."""
    original = rootfs.docker_archive("tree:1", [rootfs.busybox_tar(), layer(CASES["kinds"][0])])
    dockerd.load(original)
    with dockerd.api() as api:
        saved = api.raw("GET", "/images/get?names=tree:1").body
        their_id = api.call("GET", "/images/tree:1/json")["Id"]
    theirs = loaded_by(dockerd, original, tmp_path / "theirs")
    assert differences(await loaded(images, saved, tmp_path / "ours"), theirs) == []
    assert images.find("tree:1").id == their_id


def _compress(program: str) -> Callable[[bytes], bytes]:
    def run(data: bytes) -> bytes:
        done = subprocess.run([program, "-c"], input=data, capture_output=True, check=True)
        return done.stdout

    return run


@pytest.mark.parametrize("program", ["gzip", "bzip2", "xz", "zstd"])
async def test_compressed_archives_and_layers(
    images: ImageService, tmp_path: Path, program: str
) -> None:
    plain = [rootfs.tar([rootfs.Entry("one", b"1" * 9000)]), layer(LOWER)]
    want = await loaded(images, rootfs.docker_archive("tree:1", plain), tmp_path / "plain")
    compress = _compress(program)
    whole = compress(rootfs.docker_archive("tree:1", plain))
    assert await loaded(images, whole, tmp_path / "whole") == want
    ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in plain]
    packed = docker_archive([compress(d) for d in plain], diff_ids=ids, tags=["tree:1"])
    await images.delete("tree:1")
    assert await loaded(images, packed, tmp_path / "packed") == want
