"""TLS whose directions end one by one, over real sockets and both event loops."""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from aiod.wire.tls import TlsError, TlsProtocol
from tests.support.certificates import Authority, Certificate, authority

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
DATA = os.urandom(3 << 20)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def certificate(signer: Authority) -> Certificate:
    return signer.issue("peer")


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    found: ssl.TLSVersion = request.param
    return found


class HalfOpen(asyncio.StreamReaderProtocol):
    """A server's side that goes on when its client's input has ended."""

    def eof_received(self) -> bool:
        super().eof_received()
        return True


async def _served(certificate: Certificate, version: ssl.TLSVersion, talk: Talk) -> asyncio.Server:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    context.maximum_version = version

    def made() -> TlsProtocol:
        app = HalfOpen(asyncio.StreamReader(limit=1024), talk)
        return TlsProtocol(context, app, server_side=True)

    return await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)


async def _connected(server: asyncio.Server, trusted: Path, name: str = "localhost") -> Streams:
    context = ssl.create_default_context(cafile=trusted)
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    app = HalfOpen(reader)
    port = server.sockets[0].getsockname()[1]
    _, protocol = await loop.create_connection(
        lambda: TlsProtocol(context, app, server_side=False, server_hostname=name),
        "127.0.0.1",
        port,
    )
    return reader, asyncio.StreamWriter(await protocol.established, app, reader, loop)


async def test_output_goes_on_when_input_has_ended(
    signer: Authority, certificate: Certificate, version: ssl.TLSVersion
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(data)
        await writer.drain()
        writer.close()

    async with await _served(certificate, version, talk) as server:
        reader, writer = await _connected(server, signer.certificate)
        assert writer.get_extra_info("ssl_object").version() == str(version.name).replace("_", ".")
        writer.write(DATA)
        writer.write_eof()
        assert await reader.read() == DATA
        writer.close()


async def test_input_goes_on_when_output_has_ended(
    signer: Authority, certificate: Certificate, version: ssl.TLSVersion
) -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write_eof()  # although more has come that it was not ready to read
        got.set_result(await reader.read())
        writer.close()

    async with await _served(certificate, version, talk) as server:
        reader, writer = await _connected(server, signer.certificate)
        writer.write(DATA)
        assert await reader.read() == b""
        await writer.drain()
        writer.write_eof()
        assert await got == DATA[1:]
        writer.close()


async def test_slow_reader_holds_the_writer(
    signer: Authority, certificate: Certificate, version: ssl.TLSVersion
) -> None:
    written = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        while written < 100 << 20:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536
        writer.close()

    async with await _served(certificate, version, talk) as server:
        reader, writer = await _connected(server, signer.certificate)
        seen = -1
        while seen != written or written == 0:
            seen = written
            await asyncio.sleep(0.05)
        assert written < 20 << 20
        size = 0
        while piece := await reader.read(1 << 20):
            size += len(piece)
        assert size == 100 << 20
        writer.close()


async def test_peer_that_is_not_trusted(
    signer: Authority, certificate: Certificate, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    other = authority(tmp_path, "other")
    async with await _served(certificate, version, talk) as server:
        with pytest.raises(TlsError, match="certificate"):
            await _connected(server, other.certificate)
        with pytest.raises(TlsError, match="elsewhere"):
            await _connected(server, signer.certificate, "elsewhere.test")


async def test_peer_that_speaks_no_tls(certificate: Certificate, version: ssl.TLSVersion) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nobody was let in")

    async with await _served(certificate, version, talk) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert b"HTTP" not in await reader.read()
        writer.close()
