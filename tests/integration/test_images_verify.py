"""Verification: what rots or is lost is found and named, what can be repaired is."""

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from aiod.images.model import ImageRecord
from aiod.images.service import ImageService
from aiod.images.verify import VerifyMessage
from aiod.store.database import Database
from tests.support import rootfs
from tests.support.daemon import AiodDaemon
from tests.support.layertars import directory, layer, link, member
from tests.support.pulling import image_service, skopeo_push
from tests.support.registry import Registry

ARCHIVE = rootfs.docker_archive(
    "v:1",
    [
        layer([directory("d"), member("d/f", b"content" * 1000), link("d/g", "d/f")]),
        layer([member("top", b"2"), member(".wh.d")]),
    ],
)


async def loaded(images: ImageService) -> ImageRecord:
    async def body() -> AsyncIterator[bytes]:
        yield ARCHIVE

    _ = [message async for message in images.load(body())]
    return images.find("v:1")


async def problems(images: ImageService, *, repair: bool = False) -> list[VerifyMessage]:
    messages = [message async for message in images.verify(repair=repair)]
    assert messages[-1].summary is not None
    found = [message for message in messages if message.problem]
    assert messages[-1].summary.problems == len(found)
    return found


async def test_what_is_sound(tmp_path: Path) -> None:
    async with image_service(tmp_path) as images:
        await loaded(images)
        messages = [message async for message in images.verify()]
    summary = messages.pop().summary
    assert summary is not None
    assert (summary.blobs, summary.layers, summary.images, summary.problems) == (3, 2, 1, 0)
    assert not [message for message in messages if message.problem]


def _rot(path: Path) -> None:
    """One byte, without a trace in any time."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(before.st_size // 2)
        byte = file.read(1)[0]
        file.seek(before.st_size // 2)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


LAYER_DAMAGES: list[Callable[[Path], object]] = [
    lambda top: _rot(top / "diff/d/f"),
    lambda top: (top / "diff/d/f").unlink(),
    lambda top: (top / "diff/d").chmod(0o700),
    lambda top: os.truncate(top / "diff/d/f", 3),
    lambda top: (top / "layer.json").write_bytes(b"{"),
    lambda top: (top / "layer.json").unlink(),
    lambda top: (top / "diff/more").touch(),
]


@pytest.mark.parametrize("damage", LAYER_DAMAGES)
async def test_a_damaged_layer_is_found_and_repaired(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    async with image_service(tmp_path) as images:
        image = await loaded(images)
        chain = image.layers[0].chain_id
        damage(images.layer_directory(chain).parent)
        (found,) = await problems(images)
        assert (found.subject, found.id, found.repaired) == ("layer", chain, False)
        assert found.problem.startswith("damaged")
        (found,) = await problems(images, repair=True)
        assert found.repaired
        assert not await problems(images)
        assert (images.layer_directory(chain) / "d/f").read_bytes() == b"content" * 1000
        assert len(list((tmp_path / "overlay").iterdir())) == 2


async def test_a_layer_that_is_used_is_not_repaired(tmp_path: Path) -> None:
    async with image_service(tmp_path) as images:
        image = await loaded(images)
        chain = image.layers[0].chain_id
        _rot(images.layer_directory(chain) / "d/f")
        images.stacks = lambda: {"c" * 64: [layer.chain_id for layer in image.layers]}
        (found,) = await problems(images, repair=True)
        assert not found.repaired
        assert found.problem.endswith("not repaired: a container stands on it")
        images.stacks = dict
        async with images.lease() as lease:
            await images.hold("v:1", lease)
            (found,) = await problems(images, repair=True)
            assert not found.repaired
        assert [one.repaired for one in await problems(images, repair=True)] == [True]


async def test_a_damaged_blob_is_found_and_taken_away(tmp_path: Path) -> None:
    async with image_service(tmp_path) as images:
        image = await loaded(images)
        blob = tmp_path / "content/blobs/sha256" / image.layers[0].blob_digest[7:]
        _rot(blob)
        (found,) = await problems(images)
        assert (found.subject, found.id) == ("blob", image.layers[0].blob_digest)
        assert "damaged: its content has the digest sha256:" in found.problem
        assert [one.subject for one in await problems(images, repair=True)] == ["blob", "image"]
        assert not blob.exists()
        await loaded(images)
        assert not await problems(images)


def test_a_blob_taken_away_comes_back_with_the_next_pull(
    daemon: AiodDaemon, tmp_path: Path
) -> None:
    (tmp_path / "v.tar").write_bytes(ARCHIVE)
    with Registry(tmp_path / "registry") as registry, daemon.api() as api:
        skopeo_push(registry, "v:1", tmp_path / "v.tar")
        name = f"{registry.address}/v:1"
        api.send("POST", "/images/create", fromImage=name)
        whole = set(daemon.paths.blobs.iterdir())
        rotten = max(whole, key=lambda path: path.stat().st_size)
        _rot(rotten)
        lines = api.send("POST", "/aiod/images/verify", repair=1).body.splitlines()
        assert json.loads(lines[-1])["summary"]["problems"] == 2
        assert not rotten.exists()
        api.send("POST", "/images/create", fromImage=name)
        lines = api.send("POST", "/aiod/images/verify").body.splitlines()
        assert json.loads(lines[-1])["summary"]["problems"] == 0
        assert set(daemon.paths.blobs.iterdir()) == whole


async def test_what_is_missing(tmp_path: Path) -> None:
    async with image_service(tmp_path) as images:
        image = await loaded(images)
        lost = images.layer_directory(image.layers[1].chain_id).parent
        lost.rename(tmp_path / "lost")
        images.stacks = lambda: {"c" * 64: [image.layers[1].chain_id]}
        found = await problems(images)
        assert [(one.subject, one.id) for one in found] == [
            ("image", image.id),
            ("container", "c" * 64),
        ]
        assert {one.problem for one in found} == {f"not here: layer {image.layers[1].chain_id}"}
        assert [one.repaired for one in await problems(images, repair=True)] == [True]
        assert not await problems(images)


async def test_an_unreadable_record_is_a_problem_and_costs_nothing(tmp_path: Path) -> None:
    async with image_service(tmp_path) as images:
        await loaded(images)
    database = await Database.open(tmp_path / "d.db")
    await database.transact(
        lambda connection: connection.execute("UPDATE images SET document = '{}'")
    )
    await database.close()
    async with image_service(tmp_path) as images:
        (found,) = await problems(images, repair=True)
        assert found.problem == "its record cannot be read"
        assert len(list((tmp_path / "overlay").iterdir())) == 2


def test_over_the_api(daemon: AiodDaemon) -> None:
    daemon.load(ARCHIVE)
    with daemon.api() as api:
        overlay = daemon.paths.overlay
        broken = next(path for path in overlay.iterdir() if (path / "diff/top").exists())
        (broken / "diff/top").unlink()
        lines = api.send("POST", "/aiod/images/verify", repair=1).body.splitlines()
        messages = [json.loads(line) for line in lines]
        assert [one["id"][7:] for one in messages if one.get("repaired")] == [broken.name]
        assert messages[-1]["summary"]["problems"] == 1
        assert (broken / "diff/top").read_bytes() == b"2"
