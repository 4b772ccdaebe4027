"""Loading as work: bounded in memory, beside other requests, once for layers that are shared."""

import asyncio
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiod.images.base import find_busybox
from aiod.images.service import ImageService
from aiod.images.threads import run_to_end
from aiod.images.unpack import unpack
from aiod.store.database import Database
from tests.support import rootfs
from tests.support.daemon import AiodDaemon
from tests.support.http import UnixConnection
from tests.support.layertars import docker_archive, layer, member
from tests.support.processes import read_proc
from tests.support.pulling import image_service

_MEGABYTE = 1 << 20
MEGABYTES = 250


async def load(images: ImageService, data: bytes, quiet: bool = True) -> list[Any]:
    async def body() -> AsyncIterator[bytes]:
        yield data

    return [message async for message in images.load(body(), quiet=quiet)]


class _Pattern:
    """A file of `size` bytes that is nowhere."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._block = os.urandom(_MEGABYTE)

    def read(self, size: int = -1) -> bytes:
        size = min(size, self._left, _MEGABYTE)
        self._left -= size
        return self._block[:size]


def _write_big_archive(place: Path, megabytes: int) -> None:
    """A docker-archive with one layer of one big file, made without holding it in memory."""
    inner = place.with_suffix(".layer")
    with tarfile.open(inner, "w") as tar:
        info = tarfile.TarInfo("big")
        info.size = megabytes * _MEGABYTE
        tar.addfile(info, _Pattern(info.size))
    with inner.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    small = docker_archive([], diff_ids=[f"sha256:{digest}"], tags=["big:1"])
    with tarfile.open(place, "w") as tar:
        tar.add(inner, "layer0")
        with tarfile.open(fileobj=io.BytesIO(small)) as source:
            for one in source:
                data = source.extractfile(one)
                assert data is not None
                text = data.read().replace(b'"Layers": []', b'"Layers": ["layer0"]')
                one.size = len(text)
                tar.addfile(one, io.BytesIO(text))
    inner.unlink()


def _peak_memory(pid: int) -> int:
    """Megabytes of memory the process had at most that no file backs."""
    lines = dict(
        line.split(":", 1) for line in read_proc(pid, "status").splitlines() if ":" in line
    )
    return int(lines["VmHWM"].split()[0]) // 1024


def test_a_big_image_neither_fills_memory_nor_blocks(daemon: AiodDaemon, tmp_path: Path) -> None:
    archive = tmp_path / "big.tar"
    _write_big_archive(archive, MEGABYTES)
    answers: list[bytes] = []

    def send() -> None:
        connection = UnixConnection(daemon.socket, timeout=300)
        headers = {"Content-Type": "application/x-tar",
                   "Content-Length": str(archive.stat().st_size)}  # fmt: skip
        with archive.open("rb") as file:
            connection.request("POST", "/images/load?quiet=0", file, headers)
            answers.append(connection.getresponse().read())
        connection.close()

    sender = threading.Thread(target=send)
    sender.start()
    with daemon.api() as api:
        pings = 0
        while sender.is_alive():
            assert api.raw("GET", "/_ping").body == b"OK"
            api.call("GET", "/images/json")
            pings += 1
            sender.join(0.01)
        lines = [json.loads(line) for line in answers[0].splitlines()]
        assert lines[-1] == {"stream": "Loaded image: big:1\n"}
        done = [line["progressDetail"] for line in lines if line.get("status") == "Loading layer"]
        assert [one["current"] for one in done] == sorted(one["current"] for one in done)
        assert api.call("GET", "/images/big:1/json")["Size"] == MEGABYTES * _MEGABYTE
    assert pings > 5
    assert _peak_memory(daemon.pid) < MEGABYTES // 2


@pytest.fixture
def unpackings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The directories that were unpacked into."""
    seen: list[str] = []

    def counted(source: Any, directory: str, *rest: Any) -> Any:
        seen.append(directory)
        return unpack(source, directory, *rest)

    monkeypatch.setattr("aiod.images.layers.unpack", counted)
    return seen


async def test_shared_layers_are_unpacked_once(tmp_path: Path, unpackings: list[str]) -> None:
    shared = [layer([member(f"{n}/{m}", b"x" * 5000) for m in range(50)]) for n in range(3)]
    archives = [
        rootfs.docker_archive(f"n{n}:1", [*shared, layer([member(f"own{n}", b"1")])])
        for n in range(6)
    ]
    async with image_service(tmp_path) as images:
        await asyncio.gather(*(load(images, data) for data in archives))
        assert len(unpackings) == 3 + 6
        chains = {one.chain_id for n in range(6) for one in images.find(f"n{n}:1").layers}
        assert len(chains) == 9
        await images.delete("n0:1")
        assert images.layer_directory(images.find("n1:1").layers[0].chain_id).is_dir()


async def test_a_cancelled_load_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def held(source: Any, directory: str, limits: Any, stop: threading.Event) -> Any:
        (Path(directory) / "half").write_bytes(b"made")
        loop.call_soon_threadsafe(begun.set)
        assert stop.wait(30)
        return unpack(source, directory, limits, stop)

    monkeypatch.setattr("aiod.images.layers.unpack", held)
    archive = rootfs.docker_archive("c:1", [layer([member("f", b"x")])])
    async with image_service(tmp_path) as images:
        task = asyncio.ensure_future(load(images, archive))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any((tmp_path / "overlay").iterdir())
        assert not any((tmp_path / "content/blobs/sha256").iterdir())
        assert not any((tmp_path / "content/ingest").iterdir())


async def test_a_lease_keeps_what_a_removal_frees(tmp_path: Path) -> None:
    async with image_service(tmp_path) as images:
        await load(images, rootfs.docker_archive("l:1", [layer([member("a", b"1")])]))
        directory = images.layer_directory(images.find("l:1").layers[0].chain_id)
        async with images.lease() as lease:
            image = await images.hold("l:1", lease)
            await images.delete("l:1")
            assert directory.is_dir()
            assert {f"sha256:{path.name}" for path in blobs(tmp_path)} == image.blobs()
        assert not directory.exists()
        assert not blobs(tmp_path)


async def test_a_collection_waits_for_no_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one layer is being unpacked another image goes, and only that one."""
    loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def slow(source: Any, directory: str, *rest: Any) -> Any:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(30)
        return unpack(source, directory, *rest)

    async with image_service(tmp_path) as images:
        await load(images, rootfs.docker_archive("old:1", [layer([member("a", b"1")])]))
        old = images.find("old:1").needs()
        monkeypatch.setattr("aiod.images.layers.unpack", slow)
        archive = rootfs.docker_archive("new:1", [layer([member("f", b"x")])])
        loading = asyncio.ensure_future(load(images, archive))
        await begun.wait()
        await images.delete("old:1")
        assert not old & here(tmp_path)
        go_on.set()
        await loading
        assert images.find("new:1").needs() == here(tmp_path)


def blobs(root: Path) -> list[Path]:
    return list((root / "content/blobs/sha256").iterdir())


def here(root: Path) -> set[str]:
    return {f"sha256:{path.name}" for path in (*blobs(root), *(root / "overlay").iterdir())}


async def test_litter_of_any_kind_stops_no_start(tmp_path: Path) -> None:
    async with image_service(tmp_path) as images:
        await load(images, rootfs.docker_archive("l:1", [layer([member("a", b"1")])]))
    for place in ("content/ingest", "content/blobs/sha256", "overlay"):
        (tmp_path / place / "tmp-dir/deep").mkdir(parents=True)
        (tmp_path / place / "tmp-file").write_bytes(b"x")
        (tmp_path / place / "tmp-link").symlink_to("/etc")
        (tmp_path / place / "other").mkdir()
    async with image_service(tmp_path) as images:
        await images.collect()
        assert [path.name for path in (tmp_path / "overlay").iterdir()] == [
            images.find("l:1").layers[0].chain_id[7:]
        ]
        assert len(list((tmp_path / "content/blobs/sha256").iterdir())) == 2
        assert not any((tmp_path / "content/ingest").iterdir())
        assert Path("/etc/passwd").exists()


async def test_an_unreadable_record_costs_no_layer(tmp_path: Path) -> None:
    """Of whatever made it, nothing says which blobs it owns: then nothing is deleted."""
    async with image_service(tmp_path) as images:
        await load(images, rootfs.docker_archive("l:1", [layer([member("a", b"1")])]))
        directory = images.layer_directory(images.find("l:1").layers[0].chain_id)
    database = await Database.open(tmp_path / "d.db")
    await database.transact(_spoil)
    await database.close()
    async with image_service(tmp_path) as images:
        assert await images.list({}) == []
        await images.collect()
        assert directory.is_dir()


async def test_files_whose_record_is_gone_go_at_the_next_start(tmp_path: Path) -> None:
    """As after a crash between a removal's record and its files."""
    async with image_service(tmp_path) as images:
        await load(images, rootfs.docker_archive("l:1", [layer([member("a", b"1")])]))
    database = await Database.open(tmp_path / "d.db")
    await database.transact(_forget)
    await database.close()
    async with image_service(tmp_path) as images:
        images.collect_soon()
    assert not any((tmp_path / "overlay").iterdir())
    assert not any((tmp_path / "content/blobs/sha256").iterdir())


async def _forget(connection: Any) -> None:
    await connection.execute("DELETE FROM images")


async def _spoil(connection: Any) -> None:
    await connection.execute("UPDATE images SET document = '{}'")


async def test_work_in_a_thread_ends_before_its_caller() -> None:
    ended = threading.Event()

    def work(stop: threading.Event) -> None:
        stop.wait(30)
        ended.set()

    task = asyncio.ensure_future(run_to_end(work))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_base_is_the_same_everywhere(tmp_path: Path) -> None:
    ids = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        async with image_service(tmp_path / name) as images:
            made = await asyncio.gather(*(images.resolve("base") for _ in range(4)))
            ids |= {image.id for image in made}
            top = images.layer_directory(made[0].layers[0].chain_id)
            assert (top / "tmp").stat().st_mode & 0o7777 == 0o1777
            assert (top / "root").stat().st_mode & 0o7777 == 0o700
            assert "root:x:0:0" in (top / "etc/passwd").read_text()
            assert "root:x:0:" in (top / "etc/group").read_text()
            assert {"sh", "ls", "sleep", "true"} <= {path.name for path in (top / "bin").iterdir()}
            assert (top / "bin/busybox").read_bytes() == find_busybox().read_bytes()
            events = await images.delete("base")
            assert events[0].untagged == "base:latest"
    assert len(ids) == 1
