"""The command line's half of HTTP: answers whole, in pieces, cut short and broken."""

import asyncio

import pytest

from aiod.cli.errors import UnreachableError
from aiod.cli.http import Response, _read_head


async def _answered(data: bytes) -> Response:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await _read_head(reader)


async def test_body_of_a_known_length() -> None:
    response = await _answered(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Y: a: b\r\n\r\nhello more"
    )
    assert (response.status, response.headers["x-y"]) == (200, "a: b")
    assert await response.read() == b"hello"


async def test_body_in_chunks_is_cut_into_lines() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b'8\r\n{"a":1}\n\r\n3;x=y\r\n{"b\r\n6\r\n":2}\r\n\r\n0\r\n\r\n'
    response = await _answered(head + chunks)
    assert [line async for line in response.lines()] == [b'{"a":1}', b'{"b":2}']


async def test_body_until_the_connection_ends() -> None:
    response = await _answered(b"HTTP/1.0 200 OK\r\n\r\nall of it\nunended")
    assert [line async for line in response.lines()] == [b"all of it", b"unended"]


async def test_no_body() -> None:
    response = await _answered(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert await response.read() == b""


async def test_interim_answers_are_passed_over() -> None:
    response = await _answered(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n")
    assert response.status == 304


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 9\r\n\r\nhello",
        b"Content-Length: many\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n9\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\nfive\r\nhello\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
async def test_body_cut_short_or_broken_is_told_of(rest: bytes) -> None:
    with pytest.raises(UnreachableError):
        await (await _answered(b"HTTP/1.1 200 OK\r\n" + rest)).read()


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 ok\r\n\r\n"])
async def test_what_is_no_answer_is_told_of(data: bytes) -> None:
    with pytest.raises(UnreachableError, match="broken"):
        await _answered(data)
