"""Images: what comes in as archives and tars, what is refused, and what goes."""

import gzip
import hashlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aiod.config import Paths
from aiod.errors import AiodError, ConflictError, InvalidParameterError, NotFoundError
from aiod.images.model import ContainerUse
from aiod.images.service import ImageService
from aiod.store.database import Database
from aiod.store.images import ImageRepository
from tests.support import rootfs
from tests.support.binaries import require
from tests.support.pulling import image_service


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 65536):
        yield data[start : start + 65536]


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[ImageService]:
    async with image_service(tmp_path) as service:
        yield service


async def load(images: ImageService, data: bytes) -> list[str]:
    return [message.stream async for message in images.load(pieces(data), quiet=True)]


def files(root: Path) -> set[str]:
    kept = [*(root / "content").rglob("*"), *(root / "overlay").glob("*")]
    return {path.name for path in kept if path.name not in ("blobs", "sha256", "ingest")}


@pytest.mark.parametrize("make", [rootfs.docker_archive, rootfs.oci_layout])
async def test_load_and_remove(images: ImageService, tmp_path: Path, make: object) -> None:
    second = rootfs.tar([rootfs.Entry("second", b"layer\n")])
    data = make("tour:1", [rootfs.busybox_tar(), second])  # type: ignore[operator]
    assert await load(images, data) == ["Loaded image: tour:1\n"]
    image = images.find("tour:1")
    assert len(image.layers) == 2
    top = images.layer_directory(image.layers[1].chain_id)
    assert (top / "second").read_bytes() == b"layer\n"
    assert await load(images, gzip.compress(data, 1)) == ["Loaded image: tour:1\n"]
    assert len(await images.list({})) == 1
    removed = await images.delete("tour:1")
    chains = [layer.chain_id for layer in reversed(image.layers)]
    assert [one.untagged or one.deleted for one in removed] == ["tour:1", image.id, *chains]
    assert files(tmp_path) == set()


SKOPEO = {
    "docker-archive": (),
    "oci-archive": (),
    "oci-archive zstd": ("--dest-compress-format", "zstd", "--dest-compress-level", "3"),
    "oci-archive plain": ("--dest-oci-accept-uncompressed-layers", "--dest-decompress"),
}


@pytest.mark.parametrize("kind", SKOPEO)
async def test_what_skopeo_writes(images: ImageService, tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / "source.tar", tmp_path / "target.tar"
    layers = [rootfs.busybox_tar(), rootfs.tar([rootfs.Entry("second", b"layer\n")])]
    source.write_bytes(rootfs.docker_archive("made:1", layers))
    place = f"{kind.split()[0]}:{target}:one:9"
    command = [require("skopeo"), "copy", "-q", *SKOPEO[kind], f"docker-archive:{source}", place]
    subprocess.run(command, check=True, timeout=60)
    assert await load(images, target.read_bytes()) == ["Loaded image: one:9\n"]
    image = images.find("one:9")
    top = images.layer_directory(image.layers[1].chain_id)
    assert (top / "second").read_bytes() == b"layer\n"
    want = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]
    assert [one.diff_id for one in image.layers] == want


async def test_records_survive_a_restart(images: ImageService, tmp_path: Path) -> None:
    await load(images, rootfs.docker_archive("a:1", [rootfs.busybox_tar()]))
    database = await Database.open(tmp_path / "d.db")
    again = ImageService(Paths(tmp_path, tmp_path), ImageRepository(database))
    await again.start()
    assert again.find("a:1") == images.find("a:1")
    await database.close()


async def test_import_and_base(images: ImageService) -> None:
    done = [m async for m in images.import_root(pieces(rootfs.busybox_tar()), "i:1")]
    assert done[0].status == images.find("i:1").id
    base = await images.resolve("base")
    assert (await images.config(base)).run.cmd == ["/bin/sh"]
    assert (await images.ensure_base()).id == base.id
    shell = images.layer_directory(base.layers[0].chain_id) / "bin/sh"
    assert shell.is_symlink()


HOSTILE = {
    "parent": [rootfs.Entry("../out", b"x")],
    "link": [rootfs.Entry("a", link="/etc"), rootfs.Entry("a/passwd", b"x")],
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_layer_leaves_nothing_outside(
    images: ImageService, tmp_path: Path, name: str
) -> None:
    outside = Path("/etc/passwd").read_bytes()
    try:
        await load(images, rootfs.docker_archive("h:1", [rootfs.tar(HOSTILE[name])]))
    except InvalidParameterError:
        await images.collect()
        assert files(tmp_path) == set()
    assert Path("/etc/passwd").read_bytes() == outside
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "overlay" / "out").exists()


@pytest.mark.parametrize("data", [b"", b"no archive", rootfs.busybox_tar()])
async def test_no_archive_is_refused(images: ImageService, tmp_path: Path, data: bytes) -> None:
    with pytest.raises(AiodError, match="archive"):
        await load(images, data)
    assert files(tmp_path) == set()


async def test_used_image_is_kept(images: ImageService) -> None:
    await load(images, rootfs.docker_archive("u:1", [rootfs.busybox_tar()]))
    images.uses = lambda image_id: [ContainerUse("c" * 64, running=True)]
    with pytest.raises(ConflictError, match=r"cannot be forced.* used by running container"):
        await images.delete(images.find("u:1").id, force=True)
    with pytest.raises(NotFoundError, match="No such image: x:latest"):
        images.find("x")
