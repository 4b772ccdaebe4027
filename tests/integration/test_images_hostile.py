"""Archives that lie, attack or are damaged: refused with the reason, and nothing is left."""

import asyncio
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiod.config import Paths
from aiod.errors import AiodError, InternalError, InvalidParameterError
from aiod.images.compression import Limits
from aiod.images.service import ImageService
from aiod.images.unpack import unpack
from aiod.store.database import Database
from aiod.store.images import ImageRepository
from tests.support import rootfs
from tests.support.engine import Engine
from tests.support.layertars import (
    archive,
    directory,
    docker_archive,
    layer,
    link,
    member,
    soft,
)  # fmt: skip

LIMITS = Limits(size=64 << 20, entries=2000, ratio=50, ratio_floor=1 << 20)


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[ImageService]:
    root = tmp_path / "root"
    database = await Database.open(tmp_path / "d.db")
    service = ImageService(Paths(root, root), ImageRepository(database), LIMITS)
    await service.start()
    yield service
    await service.close()
    await database.close()


async def load(images: ImageService, data: bytes) -> None:
    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]

    async for _ in images.load(body()):
        pass


def kept(tmp_path: Path) -> list[str]:
    """Whatever is there beyond the empty stores and the database."""
    known = {"root", "root/content", "root/content/blobs", "root/content/blobs/sha256",
             "root/content/ingest", "root/overlay"}  # fmt: skip
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    return sorted(name for name in found - known if not name.startswith("d.db"))


NULL = member("dev", type=tarfile.CHRTYPE, devmajor=1 << 13, devminor=3)

LAYERS = {
    "upwards": ([member("../out", b"x")], r'"\.\."'),
    "upwards inside": ([member("a/../../out", b"x")], r'"\.\."'),
    "upwards directory": ([directory("..")], r'"\.\."'),
    "through a link": ([soft("a", "/etc"), member("a/passwd", b"x")], "is a symbolic link"),
    "through a link to itself": ([soft("a", "a"), member("a/b", b"x")], "is a symbolic link"),
    "through a relative link": ([soft("a", "../.."), member("a/b", b"x")], "a symbolic link"),
    "through a deep link": (
        [directory("d"), soft("d/up", "../../.."), directory("d/up/new")], "is a symbolic link",
    ),
    "through a link twice": (
        [directory("a"), soft("a", "/tmp"), link("a", "b"), member("a/b", b"")], "not in the layer",
    ),
    "under a file": ([member("a", b""), member("a/b", b"x")], "is not a directory"),
    "hard link outside": ([link("a", "../../etc/passwd")], r'"\.\."'),
    "hard link to the absolute": ([link("a", "/etc/passwd")], "is not in the layer"),
    "hard link through a link": ([soft("a", "/etc"), link("b", "a/passwd")], "symbolic link"),
    "hard link to the root": ([link("b", "/")], "hard link to the root"),
    "hard link to a directory": ([directory("d"), link("b", "d")], "to a directory"),
    "no name": ([member("./", b"x", type=tarfile.SYMTYPE, linkname="/")], "root directory"),
    "whiteout of nothing": ([member(".wh.", b"")], "must name a file"),
    "whiteout of the parent": ([member(".wh...", b"")], "must name a file"),
    "whiteout through a link": ([soft("a", "/tmp"), member("a/.wh.b")], "is a symbolic link"),
    "opaque through a link": ([soft("a", "/tmp"), member("a/.wh..wh..opq")], "symbolic link"),
    "device out of range": ([NULL], "device number"),
    "a time that is none": ([member("a", b"", pax_headers={"mtime": "9" * 20})], "is not a time"),
    "overlay's own xattr": (
        [member("a", b"", pax_headers={"SCHILY.xattr.trusted.overlay.redirect": "/b"})],
        "belongs to the file system",
    ),
    "name too long": ([member("n" * 300, b"")], "name too long"),
    "path too long": ([member("/".join(["n" * 200] * 30), b"")], "too long"),
    "nested too deeply": ([member("/".join("n" * 300), b"")], "too deeply"),
    "too many entries": ([member(f"f{n}") for n in range(2001)], "limit of 2000 entries"),
    "a sparse bomb": (
        [member("a", b"", pax_headers={
            "GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 62), "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1"})],
        "limit|too large",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
async def test_hostile_layers(images: ImageService, tmp_path: Path, name: str) -> None:
    members, reason = LAYERS[name]
    with pytest.raises(InvalidParameterError, match=f"(?i){reason}"):
        await load(images, docker_archive([layer([member("good", b"1")]), layer(members)]))
    assert kept(tmp_path) == []


async def test_time_beyond_the_kernels(images: ImageService, tmp_path: Path) -> None:
    late = layer([member("a", b"", mtime=1 << 70)], tarfile.GNU_FORMAT)
    with pytest.raises(InvalidParameterError, match="time is out of range"):
        await load(images, docker_archive([late]))
    assert kept(tmp_path) == []


PLAIN = layer([member("a", b"data")])
DIFF = f"sha256:{hashlib.sha256(PLAIN).hexdigest()}"
BOMB = gzip.compress(layer([member("zeros", bytes(32 << 20))]), 9)


def oci(**changes: bytes) -> bytes:
    """An OCI layout in which a part, named by what it is, was replaced."""
    config = (
        changes.get("config")
        or json.dumps(
            {
                "os": "linux",
                "architecture": "amd64",
                "rootfs": {"type": "layers", "diff_ids": [DIFF]},
            }
        ).encode()
    )

    def descriptor(data: bytes, kind: str) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest,
                "size": len(data)}  # fmt: skip

    manifest = json.dumps({
        "schemaVersion": 2, "config": descriptor(config, "config.v1+json"),
        "layers": [descriptor(PLAIN, "layer.v1.tar")],
    }).encode()  # fmt: skip
    index = {"schemaVersion": 2, "manifests": [descriptor(manifest, "manifest.v1+json")]}
    blobs = {"config": config, "manifest": manifest, "layer": PLAIN}
    files = {f"blobs/sha256/{hashlib.sha256(d).hexdigest()}": changes.get(f"{name}_blob", d)
             for name, d in blobs.items()}  # fmt: skip
    files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    return archive({**files, "index.json": changes.get("index", json.dumps(index).encode())})


WHOLE = docker_archive([PLAIN])
ARCHIVES = {
    "nothing": (b"", "not an image archive"),
    "no tar": (b"no archive" * 200, "not an image archive"),
    "a tar of something else": (PLAIN, "neither manifest.json nor index.json"),
    "cut in the index": (WHOLE[:700], "not an image archive|archive"),
    "cut in the data": (WHOLE[: len(WHOLE) // 2], "archive"),
    "cut while packed": (gzip.compress(WHOLE)[:-20], "damaged"),
    "spoilt while packed": (gzip.compress(WHOLE)[:60] + b"\0" * 99, "damaged"),
    "a layer cut short": (docker_archive([layer([member("a", b"1" * 9000)])[:5000]]),
                          "unexpected end"),
    "a layer that is no tar": (docker_archive([b"x" * 2048]), "invalid header"),
    "diff id of something else": (docker_archive([PLAIN], diff_ids=[f"sha256:{'0' * 64}"]),
                                  "does not match its diff id"),
    "diff id that is a path": (docker_archive([PLAIN], diff_ids=["sha256:../../../tmp/x"]),
                               "diff id"),
    "fewer diff ids": (docker_archive([PLAIN, PLAIN], diff_ids=[DIFF]), "layers length mismatch"),
    "too many layers": (docker_archive([PLAIN] * 401), "401 layers"),
    "another system": (docker_archive([PLAIN], config={"os": "windows"}), "not supported"),
    "config of a wrong shape": (docker_archive([PLAIN], config={"rootfs": [1]}), "image config"),
    "config that is no JSON": (archive({
        "config.json": b"{", "manifest.json": b'[{"Config":"config.json","Layers":[]}]'}),
        "invalid image config"),
    "manifest of a wrong shape": (archive({"manifest.json": b'{"a":1}'}), "manifest.json"),
    "manifest too deep": (archive({"manifest.json": b"[" * 100_000}), "manifest.json"),
    "manifest that points outside": (archive({
        "manifest.json": b'[{"Config":"../../etc/passwd","Layers":[]}]'}), "archive has no"),
    "manifest through a link": (layer([
        soft("c", "/etc/passwd"),
        member("manifest.json", b'[{"Config":"c","Layers":[]}]')]), "archive has no"),
    "links in a circle": (layer([
        soft("c", "d"), soft("d", "c"),
        member("manifest.json", b'[{"Config":"c","Layers":[]}]')]), "too many links"),
    "bad tag": (docker_archive([PLAIN], tags=["UPPER"]), "must be lowercase"),
    "layer bomb": (docker_archive([BOMB], diff_ids=[DIFF]), "more than 50 times"),
    "archive bomb": (gzip.compress(docker_archive([bytes(32 << 20)]), 9), "more than 50 times"),
    "archive over the limit": (docker_archive([os.urandom(65 << 20)]), "larger than"),
    "OCI blob with another digest": (oci(layer_blob=PLAIN + b"x"), "digest"),
    "OCI config with another digest": (oci(config_blob=b"{}"), "digest"),
    "OCI manifest with another digest": (oci(manifest_blob=b"{}"), "digest"),
    "OCI index that is no JSON": (oci(index=b"]"), "invalid image index"),
    "OCI index for another machine": (oci(index=json.dumps({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": DIFF, "size": 1,
        "platform": {"os": "linux", "architecture": "s390x"}}]}).encode()), "no image for linux/"),
    "OCI digest that is a path": (oci(index=json.dumps({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": "sha256:../../index.json", "size": 1}]}).encode()), "digest"),
    "OCI config of a wrong shape": (oci(config=b'{"rootfs":7}'), "invalid image config"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
async def test_hostile_archives(images: ImageService, tmp_path: Path, name: str) -> None:
    data, reason = ARCHIVES[name]
    with pytest.raises(InvalidParameterError, match=reason):
        await load(images, data)
    assert kept(tmp_path) == []


async def test_hard_links_stay_within_their_layer(
    images: ImageService, dockerd: Engine, tmp_path: Path
) -> None:
    """A layer is unpacked alone, here as by dockerd's overlay2: both refuse a link below."""
    data = docker_archive([layer([member("a", b"1")]), layer([link("b", "a")])])
    with dockerd.api() as api:
        reply = api.raw("POST", "/images/load", data, {"Content-Type": "application/x-tar"})
        assert b"no such file or directory" in reply.body
    with pytest.raises(InvalidParameterError, match="is not in the layer"):
        await load(images, data)
    assert kept(tmp_path) == []


async def test_a_good_layout_as_a_control(images: ImageService) -> None:
    await load(images, oci())
    await load(images, WHOLE)
    assert len(await images.list({})) == 2


async def test_a_device_may_have_any_name(images: ImageService) -> None:
    """A device node in a layer is data: only a container's device rules open it."""
    names = ["-rf", "new\nline", "\udcff", "a b"]
    nodes = [member(n, type=tarfile.CHRTYPE, devmajor=1, devminor=3) for n in names]
    await load(images, docker_archive([layer(nodes)]))
    top = images.layer_directory(images.find("h:1").layers[0].chain_id)
    assert sorted(os.listdir(top)) == sorted(names)


async def test_aufs_bookkeeping_is_skipped(images: ImageService) -> None:
    members = [directory(".wh..wh.plnk"), member(".wh..wh.plnk/1.2", b"x"), member("a", b"1")]
    await load(images, docker_archive([layer(members)]))
    top = images.layer_directory(images.find("h:1").layers[0].chain_id)
    assert os.listdir(top) == ["a"]


SEED = docker_archive([
    layer([directory("d"), member("d/a", b"1" * 700), soft("s", "d"), link("h", "d/a"),
           member("long/" + "n" * 150, b"2"), member("x", b"3", pax_headers={
               "SCHILY.xattr.user.k": "v", "mtime": "12.5"})]),
    layer([member("d/.wh.a"), member("d/.wh..wh..opq"), member("d/b", b"4")]),
])  # fmt: skip


@given(data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_mutated_archives_never_hurt(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bytes changed anywhere, or pieces moved: taken whole, or refused and nothing kept."""
    mutated = bytearray(SEED)
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(mutated) - 1))
        if data.draw(st.booleans()):
            mutated[place] = data.draw(st.integers(0, 255))
        else:
            block = place // 512 * 512
            other = data.draw(st.integers(0, len(mutated) // 512 - 1)) * 512
            mutated[block : block + 512] = mutated[other : other + 512]
    asyncio.run(_survives(_with_checksums(bytes(mutated)), tmp_path_factory.mktemp("m")))


def _with_checksums(data: bytes) -> bytes:
    """Headers summed again, so that what they say is looked at."""
    blocks = [bytearray(data[at : at + 512]) for at in range(0, len(data), 512)]
    for block in blocks:
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


async def _survives(data: bytes, place: Path) -> None:
    root = place / "root"
    database = await Database.open(place / "d.db")
    service = ImageService(Paths(root, root), ImageRepository(database), LIMITS)
    await service.start()
    try:
        await load(service, data)
    except AiodError:
        await service.collect()
    for row in await service.list({}):
        await service.delete(row.id, force=True)
    assert kept(place) == []
    await service.close()
    await database.close()


@given(noise=st.binary(max_size=3000), fixed=st.booleans())
@settings(max_examples=100, deadline=None)
def test_noise_as_a_layer(
    noise: bytes, fixed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stored = _with_checksums(noise + bytes(-len(noise) % 512)) if fixed else noise
    place = tmp_path_factory.mktemp("n")
    asyncio.run(_survives(rootfs.docker_archive("n:1", [stored]), place))


def test_space_is_kept_free(tmp_path: Path) -> None:
    """On a disk of its own: what would fill it is refused while the reserve is still there."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "small", str(disk)], check=True)
    try:
        (disk / "layer").mkdir()
        tar = io.BytesIO(layer(member(f"f{n}", bytes([n]) * (9 << 20)) for n in range(9)))
        with pytest.raises(InternalError, match="kept free"):
            unpack(tar, str(disk / "layer"), Limits(), threading.Event())
        free = os.statvfs(disk).f_bavail * 4096
        assert free >= 4 << 20
        shutil.rmtree(disk / "layer")
        (disk / "layer").mkdir()
        tar = io.BytesIO(layer(member(f"f{n}", bytes([n]) * (9 << 20)) for n in range(6)))
        assert unpack(tar, str(disk / "layer"), Limits(), threading.Event()).size == 6 * (9 << 20)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
