"""What registries may answer that Debian's does not: redirects, referrers, old manifests, waits."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from email.message import Message
from email.utils import formatdate
from typing import Any

import pytest

from aiod.config import RegistrySettings
from aiod.errors import InvalidParameterError
from aiod.images.platform import MACHINE
from aiod.images.registry import client
from aiod.images.registry.credentials import ANONYMOUS, Credentials
from aiod.images.registry.errors import RegistryError, UnreachableError
from aiod.images.registry.transport import Transport
from aiod.images.resolving import resolve
from tests.support.pulling import OCI, descriptor, digest_of
from tests.support.webserver import Page, answering, serving

WHO = Credentials("somebody", "a password")
BLOB = b"the blob's content"
DIGEST = digest_of(BLOB)
DENIED = Page(b"", 401, {"WWW-Authenticate": 'Basic realm="r"'})


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    made = Transport(RegistrySettings(attempts=3, first_delay=0.001))
    yield made
    await made.close()


@contextmanager
def listening(answers: dict[str, list[Page]]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Answers in order, the last one for ever; and what was asked, with its authorization."""
    asked: list[tuple[str, str]] = []

    def answer(path: str, headers: Message) -> Page:
        asked.append((path, headers.get("Authorization", "")))
        pages = answers.get(path, [Page(b"", 404)])
        return pages.pop(0) if len(pages) > 1 else pages[0]

    with answering(answer) as address:
        yield address, asked


async def repository(
    transport: Transport, address: str, who: Credentials = ANONYMOUS
) -> client.Repository:
    return await client.origin(transport, address, who).repository("x")


async def test_a_redirect_to_another_host_gets_no_secret(transport: Transport) -> None:
    with listening({"/elsewhere?signed=%2Fa%20b": [Page(BLOB)]}) as (storage, asked_there):
        place = f"http://{storage}/elsewhere?signed=%2Fa%20b"
        path = f"/v2/x/blobs/{DIGEST}"
        pages = {"/v2/": [Page()], path: [DENIED, Page(b"", 307, {"Location": place})]}
        with listening(pages) as (address, asked):
            there = await repository(transport, address, WHO)
            assert await there.small_blob(DIGEST, len(BLOB)) == BLOB
            assert asked[-1] == (path, WHO.basic)
        assert asked_there == [("/elsewhere?signed=%2Fa%20b", "")]


async def test_redirects_end(transport: Transport) -> None:
    path = f"/v2/x/blobs/{DIGEST}"
    loop = Page(b"", 302, {"Location": path})
    with (
        listening({"/v2/": [Page()], path: [loop]}) as (address, _),
        pytest.raises(UnreachableError, match="too many redirects"),
    ):
        await (await repository(transport, address)).small_blob(DIGEST, len(BLOB))


@pytest.mark.parametrize("form", ["seconds", "a date"])
async def test_retry_after_is_heeded(transport: Transport, form: str) -> None:
    path = f"/v2/x/blobs/{DIGEST}"
    pages = [Page(BLOB)]
    with listening({"/v2/": [Page()], path: pages}) as (address, asked):
        there = await repository(transport, address)
        begun = time.time()
        date = int(begun) + 2
        waits = {"seconds": "1", "a date": formatdate(date, usegmt=True)}
        pages.insert(0, Page(b"", 429, {"Retry-After": waits[form]}))
        assert await there.small_blob(DIGEST, 99) == BLOB
        assert time.time() >= (begun + 1 if form == "seconds" else date) - 0.1
    assert [one for one, _ in asked].count(path) == 2


async def test_attempts_are_bounded(transport: Transport) -> None:
    path = f"/v2/x/blobs/{DIGEST}"
    with (
        listening({"/v2/": [Page()], path: [Page(b"", 503)]}) as (address, asked),
        pytest.raises(RegistryError, match="the registry answered 503"),
    ):
        await (await repository(transport, address)).small_blob(DIGEST, 99)
    assert [one for one, _ in asked].count(path) == 3


def index(*subjects: bytes) -> Page:
    entries = [descriptor(f"{OCI}.manifest.v1+json", one) for one in subjects]
    document = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": entries}
    kind = {"Content-Type": f"{OCI}.index.v1+json"}
    return Page(json.dumps(document).encode(), 200, kind)


@pytest.mark.parametrize("place", ["referrers/{}", "manifests/{}"])
async def test_referrers_by_the_api_and_by_tag(transport: Transport, place: str) -> None:
    name = DIGEST if place.startswith("referrers") else DIGEST.replace(":", "-")
    path = "/v2/x/" + place.format(name)
    with serving({"/v2/": Page(), path: index(b"a signature")}) as address:
        there = await repository(transport, address)
        assert [one.digest for one in await there.referrers(DIGEST)] == [digest_of(b"a signature")]


SCHEMA1: dict[str, Any] = {"schemaVersion": 1, "name": "x", "tag": "1", "fsLayers": []}


async def test_schema_1_is_refused_in_words(transport: Transport) -> None:
    kind = {"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}
    page = Page(json.dumps(SCHEMA1).encode(), 200, kind)
    with serving({"/v2/": Page(), "/v2/x/manifests/1": page}) as address:
        there = await repository(transport, address)
        with pytest.raises(InvalidParameterError, match="manifest schema 1 is not supported"):
            await resolve(there, "1", MACHINE)


async def test_indexes_end(transport: Transport) -> None:
    """An index within indexes, deeper than anybody means."""
    pages = {"/v2/": Page()}
    kind, data = f"{OCI}.index.v1+json", b'{"schemaVersion":2,"manifests":[]}'
    platform = {"architecture": MACHINE.architecture, "os": "linux"}
    for depth in range(6):
        entry = descriptor(kind, data, platform=platform)
        pages[f"/v2/x/manifests/{digest_of(data)}"] = Page(data, 200, {"Content-Type": kind})
        data = json.dumps(
            {"schemaVersion": 2, "mediaType": kind, "depth": depth, "manifests": [entry]}
        ).encode()
    pages["/v2/x/manifests/1"] = Page(data, 200, {"Content-Type": kind})
    with serving(pages) as address:
        there = await repository(transport, address)
        with pytest.raises(InvalidParameterError, match="nested too deeply"):
            await resolve(there, "1", MACHINE)
