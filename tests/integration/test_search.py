"""Searches: what is asked of the configured index, and which of its answers are passed on."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from aiod.config import RegistrySettings
from aiod.errors import AiodError, InvalidParameterError, UnsupportedError
from aiod.images.registry.transport import Transport
from aiod.images.searching import search
from tests.support.engine import Engine

FOUND = [
    {"name": "one", "star_count": 10, "is_official": True, "description": "the first"},
    {"name": "by/two", "star_count": 3, "is_official": False, "is_automated": True},
    {"name": "by/three", "star_count": 0, "is_official": False, "more": "unknown"},
]


class Index:
    """Answers every search with `answer`, and remembers the questions."""

    def __init__(self) -> None:
        self.answer: Any = {"num_results": 3, "query": "x", "results": FOUND}
        self.asked: list[str] = []

    async def reply(self, request: web.Request) -> web.Response:
        """The one route."""
        self.asked.append(request.path_qs)
        return web.Response(body=json.dumps(self.answer), content_type="application/json")


@pytest.fixture
def index() -> Index:
    return Index()


@pytest.fixture
async def transport(index: Index) -> AsyncIterator[Transport]:
    application = web.Application()
    application.router.add_get("/v1/search", index.reply)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    made = Transport(RegistrySettings(search_index=url, attempts=1))
    yield made
    await made.close()
    await runner.cleanup()


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, ["one", "by/two", "by/three"]),
        ({"stars": ["3"]}, ["one", "by/two"]),
        ({"stars": ["3", "5"]}, ["one"]),
        ({"is-official": ["true"]}, ["one"]),
        ({"is-official": ["false"]}, ["by/two", "by/three"]),
        ({"is-automated": ["1"]}, ["by/two"]),
    ],
)
async def test_what_is_found(
    transport: Transport, index: Index, filters: dict[str, list[str]], names: list[str]
) -> None:
    found = await search(transport, "a b&c", 7, filters)
    assert [hit.name for hit in found] == names
    assert index.asked == ["/v1/search?q=a+b%26c&n=7"]


@pytest.mark.parametrize(
    ("limit", "filters"),
    [(0, {}), (101, {}), (1, {"stars": ["x"]}), (1, {"is-official": ["maybe"]})],
)
async def test_what_is_refused(
    transport: Transport, index: Index, limit: int, filters: dict[str, list[str]]
) -> None:
    with pytest.raises(InvalidParameterError):
        await search(transport, "x", limit, filters)
    assert index.asked == []


@pytest.mark.parametrize("answer", [[], {"results": 1}, "x"])
async def test_an_index_that_answers_something_else(
    transport: Transport, index: Index, answer: object
) -> None:
    index.answer = answer
    with pytest.raises(AiodError, match="cannot be read"):
        await search(transport, "x", 1, {})


async def test_without_an_index() -> None:
    with pytest.raises(UnsupportedError, match="search_index"):
        await search(Transport(RegistrySettings()), "x", 1, {})


def test_the_route_names_the_setting(aiod: Engine) -> None:
    with aiod.api() as api:
        reply = api.send("GET", "/images/search", term="x")
        assert (reply.status, "search_index" in reply.message) == (501, True)
        assert api.send("GET", "/images/search", term="x", filters='{"a":["b"]}').status == 400
