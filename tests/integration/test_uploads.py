"""Uploads into Debian's docker-registry: in one piece, in chunks, resumed, mounted, given up."""

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path

import pytest

from aiod.config import RegistrySettings
from aiod.images.registry import client, uploads
from aiod.images.registry.credentials import ANONYMOUS, Credentials
from aiod.images.registry.errors import RegistryError, UnreachableError
from aiod.images.registry.transport import Transport
from aiod.images.registry.uploads import Put, Source, Uploads
from tests.support.certificates import authority
from tests.support.cuts import Cuts
from tests.support.registry import PASSWORD, USER, Registry, TokenAuth
from tests.support.tokens import TokenServer
from tests.support.uploadserver import UploadServer

SMALL = random.Random(1).randbytes(100_000)
BIG = random.Random(2).randbytes(10_000_000)


@pytest.fixture
async def transport(tmp_path: Path) -> AsyncIterator[Transport]:
    settings = RegistrySettings(
        certificates=tmp_path / "certs.d", attempts=4, first_delay=0.01, stall_timeout=3.0
    )
    made = Transport(settings)
    yield made
    await made.close()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "registry") as running:
        yield running


def source(data: bytes) -> Source:
    async def part(first: int, count: int) -> AsyncGenerator[bytes, None]:
        for start in range(first, first + count, 1 << 20):
            yield data[start : min(start + (1 << 20), first + count)]

    return Source("sha256:" + hashlib.sha256(data).hexdigest(), len(data), part)


async def uploads_to(transport: Transport, address: str, path: str = "up") -> Uploads:
    registry = client.origin(transport, address, ANONYMOUS)
    return Uploads(await registry.repository(path, push=True))


async def stored(transport: Transport, registry: Registry, data: bytes, path: str = "up") -> bool:
    repository = await client.origin(transport, registry.address, ANONYMOUS).repository(path)
    return await repository.small_blob(source(data).digest, len(data)) == data


@pytest.mark.parametrize("data", [SMALL, BIG, b""], ids=["one piece", "chunks", "empty"])
async def test_what_is_put_is_there(transport: Transport, registry: Registry, data: bytes) -> None:
    there = await uploads_to(transport, registry.address)
    seen: list[int] = []
    assert await there.blob(source(data), (), seen.append) == Put()
    assert await stored(transport, registry, data)
    assert seen[-1:] == ([len(data)] if data else [])
    assert seen == sorted(seen)
    before = len(registry.requests())
    assert await there.blob(source(data), (), seen.append) == Put(existed=True)
    # The log may tell late of a large answer, which `stored` has had.
    asked = [line.split()[0] for line in registry.requests()[before:]]
    assert [method for method in asked if method != "GET"] == ["HEAD"]


async def test_many_chunks(
    transport: Transport, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_CHUNK", 3_000_000)
    there = await uploads_to(transport, registry.address)
    await there.blob(source(BIG), (), lambda sent: None)
    assert await stored(transport, registry, BIG)
    assert sum(line.startswith("PATCH") for line in registry.requests()) == 4


@pytest.mark.parametrize("stall", [False, True], ids=["cut", "stall"])
@pytest.mark.parametrize("data", [SMALL, BIG], ids=["one piece", "chunks"])
async def test_a_broken_upload_goes_on(registry: Registry, data: bytes, stall: bool) -> None:
    transport = Transport(RegistrySettings(attempts=6, first_delay=0.01, stall_timeout=1.0))
    async with Cuts(registry.port, len(data) // 3, 2, stall=stall) as cuts:
        there = await uploads_to(transport, cuts.address)
        assert await there.blob(source(data), (), lambda sent: None) == Put()
        assert cuts.left == 0
    assert await stored(transport, registry, data)
    await transport.close()


async def test_a_resumed_upload_sends_only_the_rest(transport: Transport) -> None:
    async with UploadServer() as server, Cuts(server.port, 8_000_000, 1) as cuts:
        there = await uploads_to(transport, cuts.address)
        await there.blob(source(BIG), (), lambda sent: None)
        assert server.blobs == {source(BIG).digest: BIG}
        assert server.requests == ["HEAD", "POST", "PATCH", "GET", "PATCH", "PUT"]
        assert server.chunks[0] > 7_000_000
        assert sum(server.chunks) == len(BIG)


async def test_chunks_are_as_large_as_the_registry_wants(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_CHUNK", 1_000_000)
    async with UploadServer(4_000_000) as server:
        there = await uploads_to(transport, server.address)
        await there.blob(source(BIG), (), lambda sent: None)
        assert server.blobs == {source(BIG).digest: BIG}
        assert server.chunks == [4_000_000, 4_000_000, 2_000_000, 0]


async def test_an_upload_that_never_succeeds_is_given_up(
    transport: Transport, registry: Registry
) -> None:
    async with Cuts(registry.port, 1_000_000, 1000) as cuts:
        there = await uploads_to(transport, cuts.address)
        with pytest.raises((RegistryError, UnreachableError)):
            await there.blob(source(BIG), (), lambda sent: None)


async def test_other_bytes_than_the_digest_says_are_refused(
    transport: Transport, registry: Registry
) -> None:
    there = await uploads_to(transport, registry.address)
    wrong = Source(source(SMALL).digest, len(SMALL), source(bytes(len(SMALL))).open)
    with pytest.raises(RegistryError, match="digest invalid"):
        await there.blob(wrong, (), lambda sent: None)


async def test_mounts(transport: Transport, registry: Registry) -> None:
    blob = source(SMALL)
    await (await uploads_to(transport, registry.address, "a/first")).blob(blob, (), lambda n: None)
    there = await uploads_to(transport, registry.address, "second")
    mounted = await there.blob(blob, ["nowhere", "a/first"], lambda sent: None)
    assert mounted == Put(mounted="a/first")
    assert await stored(transport, registry, SMALL, "second")
    third = await uploads_to(transport, registry.address, "third")
    other = source(b"something else")
    assert await third.blob(other, ["a/first", "second"], lambda sent: None) == Put()
    assert await stored(transport, registry, b"something else", "third")


async def test_mounts_with_tokens_ask_for_the_other_repository_too(
    transport: Transport, tmp_path: Path
) -> None:
    who = Credentials(USER, PASSWORD)
    with (
        TokenServer(authority(tmp_path / "ca")) as tokens,
        Registry(tmp_path / "registry", auth=TokenAuth(tokens)) as registry,
    ):
        origin = client.origin(transport, registry.address, who)
        blob = source(SMALL)
        first = Uploads(await origin.repository("first", push=True))
        await first.blob(blob, (), lambda sent: None)
        second = Uploads(await origin.repository("second", push=True))
        assert await second.blob(blob, ["first"], lambda sent: None) == Put(mounted="first")


async def test_a_cancelled_upload_ends_at_once(transport: Transport, registry: Registry) -> None:
    begun = asyncio.Event()
    closed = asyncio.Event()

    async def part(first: int, count: int) -> AsyncGenerator[bytes, None]:
        try:
            yield BIG[:65536]
            begun.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    there = await uploads_to(transport, registry.address)
    blob = Source(source(BIG).digest, len(BIG), part)
    task = asyncio.ensure_future(there.blob(blob, (), lambda sent: None))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(30):
        await closed.wait()


async def test_uploads_cut_at_random_are_whole_or_refused(
    transport: Transport, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_IN_ONE_PIECE", 100_000)
    monkeypatch.setattr(uploads, "_CHUNK", 70_000)

    async def one(seed: int) -> bool:
        print("seed", seed)
        chance = random.Random(seed)
        data = chance.randbytes(chance.randrange(1, 400_000))
        path = f"seed-{seed}"
        async with Cuts(registry.port, chance.randrange(len(data)), chance.randrange(12)) as cuts:
            there = await uploads_to(transport, cuts.address, path)
            try:
                await there.blob(source(data), (), lambda sent: None)
                done = True
            except (RegistryError, UnreachableError):
                done = False
        direct = await client.origin(transport, registry.address, ANONYMOUS).repository(path)
        if done:
            assert await stored(transport, registry, data, path)
        else:
            assert await direct.blob_size(source(data).digest) in (None, len(data))
        return done

    outcomes = [
        done for first in range(0, 60, 6)
        for done in await asyncio.gather(*(one(seed) for seed in range(first, first + 6)))
    ]  # fmt: skip
    assert set(outcomes) == {True, False}
