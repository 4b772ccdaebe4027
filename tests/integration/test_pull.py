"""Pulls from Debian's docker-registry: what comes, what is told, what is refused."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from aiod.config import RegistryHost, RegistrySettings
from aiod.errors import InvalidParameterError, NotFoundError
from aiod.images.config import Platform
from aiod.images.pulling import pull_reference
from aiod.images.registry.credentials import ANONYMOUS
from aiod.images.registry.errors import UnreachableError
from aiod.images.service import ImageService
from tests.support import rootfs
from tests.support.certificates import authority
from tests.support.pulling import (
    OCI,
    Uploader,
    descriptor,
    image_service,
    left_behind,
    pull,
    skopeo_push,
    statuses,
)
from tests.support.registry import Registry

LAYERS = [rootfs.tar([rootfs.Entry(f"file{n}", bytes([n]) * 300_000)]) for n in range(3)]


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[ImageService]:
    async with image_service(tmp_path / "i") as service:
        yield service


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "a.tar"
    path.write_bytes(rootfs.docker_archive("a:1", LAYERS))
    return path


def blobs_asked(registry: Registry) -> int:
    return sum("GET" in one and "/blobs/" in one for one in registry.requests())


async def test_pull_by_tag_and_digest(
    images: ImageService, registry: Registry, archive: Path
) -> None:
    digest = skopeo_push(registry, "some/one:1", archive)
    name = f"{registry.address}/some/one"
    messages = await pull(images, f"{name}:1")
    said = [(one.status, one.id) for one in messages if not one.progress]
    layers = [one[1] for one in said if one[0] == "Pulling fs layer"]
    assert said[0] == ("Pulling from some/one", "1")
    assert said[1:4] == [("Pulling fs layer", layer) for layer in layers]
    assert len(layers) == 3
    for layer in layers:
        assert [one[0] for one in said if one[1] == layer] == [
            "Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete",
        ]  # fmt: skip
    assert said[-2:] == [
        (f"Digest: {digest}", ""),
        (f"Status: Downloaded newer image for {name}:1", ""),
    ]
    image = images.find(f"{name}:1")
    assert image.references == (f"{name}:1", f"{name}@{digest}")
    assert image.manifest == digest
    for number, record in enumerate(image.layers):
        file = images.layer_directory(record.chain_id) / f"file{number}"
        assert file.read_bytes() == bytes([number]) * 300_000
    inspected = await images.inspect(f"{name}@{digest}")
    assert (inspected.repo_tags, inspected.repo_digests) == ([f"{name}:1"], [f"{name}@{digest}"])

    before = blobs_asked(registry)
    again = await pull(images, f"{name}:1")
    assert statuses(again) == [
        "Pulling from some/one", f"Digest: {digest}",
        f"Status: Image is up to date for {name}:1",
    ]  # fmt: skip
    by_digest = await pull(images, f"{name}@{digest}")
    assert by_digest[0].id == f"{name}@{digest}"
    assert blobs_asked(registry) == before


async def test_only_the_layer_that_differs_is_transferred(
    images: ImageService, registry: Registry
) -> None:
    upload = Uploader(registry, "shared")
    upload.image("1", LAYERS[:2])
    upload.image("2", LAYERS)
    await pull(images, f"{registry.address}/shared:1")
    before = blobs_asked(registry)
    messages = await pull(images, f"{registry.address}/shared:2")
    assert [one.status for one in messages].count("Already exists") == 2
    assert blobs_asked(registry) - before == 2  # a layer and the config


async def test_a_layer_loaded_from_an_archive_is_not_transferred(
    images: ImageService, registry: Registry, archive: Path
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield archive.read_bytes()

    _ = [message async for message in images.load(body())]
    Uploader(registry, "loaded").image("1", LAYERS)
    messages = await pull(images, f"{registry.address}/loaded:1")
    assert [one.status for one in messages].count("Already exists") == 3


async def test_the_index_entry_for_the_platform(images: ImageService, registry: Registry) -> None:
    upload = Uploader(registry, "index")
    platforms = [
        Platform("arm64", "linux", "v8"), Platform("amd64", "windows"),
        Platform("amd64", "linux"), Platform("arm", "linux", "v6"), Platform("arm", "linux", "v7"),
    ]  # fmt: skip
    entries = []
    for number, one in enumerate(platforms):
        layer = rootfs.tar([rootfs.Entry("which", b"%d" % number)])
        data = upload.image(f"p{number}", [layer], platform=one)
        shown = {"architecture": one.architecture, "os": one.os, "variant": one.variant}
        entries.append(descriptor(f"{OCI}.manifest.v1+json", data, platform=shown))
    index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": entries}
    upload.manifest("1", index)
    wanted = {
        None: b"2", Platform("arm64", "linux"): b"0",
        Platform("arm", "linux"): b"4", Platform("arm", "linux", "v6"): b"3",
    }  # fmt: skip
    for platform, content in wanted.items():
        await pull(images, f"{registry.address}/index:1", platform=platform)
        image = images.find(f"{registry.address}/index:1")
        top = images.layer_directory(image.layers[0].chain_id)
        assert (top / "which").read_bytes() == content
        assert image.manifest in {entry["digest"] for entry in entries}
    with pytest.raises(NotFoundError, match="no matching manifest for linux/s390x in the"):
        await pull(images, f"{registry.address}/index:1", platform=Platform("s390x", "linux"))
    other = await pull(images, f"{registry.address}/index:p2", platform=Platform("arm64", "linux"))
    assert "does not match the specified platform" in other[-1].status


async def test_every_tag(images: ImageService, registry: Registry) -> None:
    upload = Uploader(registry, "tagged")
    for number in range(3):
        upload.image(str(number), LAYERS[number:])
    messages = await pull(images, f"{registry.address}/tagged")
    for number in range(3):
        assert len(images.find(f"{registry.address}/tagged:{number}").layers) == 3 - number
    status = f"Status: Downloaded newer image for {registry.address}/tagged"
    assert messages[-1].status == status
    with pytest.raises(NotFoundError, match=r"repository .*/none not found: name unknown"):
        await pull(images, f"{registry.address}/none")


async def test_a_tag_that_moves_leaves_its_image_dangling(
    images: ImageService, registry: Registry
) -> None:
    upload, name = Uploader(registry, "moving"), f"{registry.address}/moving"
    upload.image("1", LAYERS[:1])
    await pull(images, f"{name}:1")
    old = images.find(f"{name}:1")
    upload.image("1", LAYERS[1:])
    assert (await pull(images, f"{name}:1"))[-1].status.startswith("Status: Downloaded newer")
    left = await images.list({"dangling": ["true"]})
    assert [(one.id, one.repo_tags) for one in left] == [(old.id, [])]
    assert left[0].repo_digests == [f"{name}@{old.manifest}"]
    assert images.find(f"{name}:1").id != old.id


async def test_compressions(images: ImageService, registry: Registry) -> None:
    upload = Uploader(registry, "packed")
    squeeze = zstandard.ZstdCompressor().compress
    upload.image("zstd", LAYERS, compress=squeeze, suffix="+zstd")
    upload.image("plain", LAYERS[1:], compress=bytes, suffix="")
    for tag in ("zstd", "plain"):
        await pull(images, f"{registry.address}/packed:{tag}")
        assert images.find(f"{registry.address}/packed:{tag}").layers


def wrong(media_type: str, data: bytes = b"x", **fields: Any) -> dict[str, Any]:
    return {**descriptor(media_type, data), **fields}


LAYER = f"{OCI}.layer.v1.tar+gzip"
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "foreign": ({"layers": [wrong(f"{OCI}.layer.nondistributable.v1.tar+gzip")]}, "is foreign"),
    "type": ({"layers": [wrong("text/plain")]}, "unsupported layer media type 'text/plain'"),
    "config": ({"config": wrong("application/vnd.cncf.helm.config.v1+json")}, "not a container"),
    "fewer": ({"layers": []}, "0 layers, but the config has 3"),
    "damaged": ({"layers": [wrong(LAYER)] * 3}, "unexpected end of archive"),
    "size": ({"layers": [wrong(LAYER, size=99)] * 3}, "only 1 of 99 bytes"),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_refused_and_nothing_left(
    images: ImageService, registry: Registry, tmp_path: Path, kind: str
) -> None:
    changes, message = REFUSED[kind]
    upload = Uploader(registry, f"refused-{kind}")
    upload.blob(b"x")
    upload.image("1", LAYERS, **changes)
    with pytest.raises((InvalidParameterError, UnreachableError), match=message):
        await pull(images, f"{registry.address}/refused-{kind}:1")
    assert left_behind(tmp_path / "i") == set()
    assert await images.list({}) == []


async def test_two_pulls_share_one_download(images: ImageService, registry: Registry) -> None:
    upload = Uploader(registry, "twice")
    upload.image("1", LAYERS)
    upload.image("2", LAYERS, annotations={"other": "manifest"})
    before = blobs_asked(registry)
    names = [f"{registry.address}/twice:{n}" for n in (1, 2, 1)]
    await asyncio.gather(*(pull(images, name) for name in names))
    assert blobs_asked(registry) - before <= 3 + 3  # three layers, and a config for each
    assert len(await images.list({})) == 1


async def test_who_leaves_ends_the_pull(
    images: ImageService, registry: Registry, tmp_path: Path
) -> None:
    Uploader(registry, "left").image("1", LAYERS)
    for count in range(1, 12):
        messages = images.pull(pull_reference(f"{registry.address}/left:1"), None, ANONYMOUS)
        for _ in range(count):
            await anext(messages)
        await messages.aclose()
        if await images.list({}):
            break
        assert left_behind(tmp_path / "i") == set()


async def test_mirrors_come_first_and_are_not_needed(
    registry: Registry, tmp_path: Path, archive: Path
) -> None:
    skopeo_push(registry, "mine:1", archive)
    with Registry(tmp_path / "m") as mirror:
        skopeo_push(mirror, "both:1", archive)
        skopeo_push(registry, "both:1", archive)
        hosts = {registry.address: RegistryHost(mirrors=("http://127.0.0.1:1", mirror.url))}
        settings = RegistrySettings(hosts=hosts, attempts=1)
        async with image_service(tmp_path / "i", settings) as images:
            before = blobs_asked(registry)
            await pull(images, f"{registry.address}/both:1")
            assert blobs_asked(registry) == before
            await pull(images, f"{registry.address}/mine:1")
            assert images.find(f"{registry.address}/mine:1")


async def test_tls_with_an_own_authority(tmp_path: Path, archive: Path) -> None:
    ca = authority(tmp_path / "ca")
    with Registry(tmp_path / "r", tls=ca.issue("server")) as registry:
        skopeo_push(registry, "x:1", archive)
        hosts = {registry.address: RegistryHost(ca=ca.certificate)}
        async with image_service(tmp_path / "i", RegistrySettings(hosts=hosts)) as images:
            await pull(images, f"{registry.address}/x:1")
        other = authority(tmp_path / "other")
        hosts = {registry.address: RegistryHost(ca=other.certificate)}
        async with image_service(tmp_path / "j", RegistrySettings(hosts=hosts)) as images:
            with pytest.raises(UnreachableError, match="certificate verification failed"):
                await pull(images, f"{registry.address}/x:1")
