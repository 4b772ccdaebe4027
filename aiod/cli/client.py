"""The engine as a command sees it: requests, streams and taken-over connections.

Owns connecting, the words for an engine that is not there, and errors; must not know what
commands do with the answers.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from aiod.cli.address import Address, TlsFiles
from aiod.cli.errors import CliError, EngineError, UnreachableError
from aiod.cli.http import Connection, Response
from aiod.wire.tls import TlsError, TlsProtocol

T = TypeVar("T")
Query = Mapping[str, str] | Sequence[tuple[str, str]]
Body = msgspec.Struct | AsyncIterable[bytes] | None

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 120.0  # for questions that wait for nothing


class _Failure(msgspec.Struct, frozen=True):
    message: str = ""


class Hijacked:
    """A connection that speaks a process's streams in both directions."""

    def __init__(self, connection: Connection, content_type: str) -> None:
        self._connection = connection
        self.framed = content_type.endswith("multiplexed-stream")

    async def read(self) -> bytes:
        """What comes next; empty at the end."""
        return await self._connection.reader.read(65536)

    async def write(self, data: bytes) -> None:
        """Send, waiting while the engine does not read; ConnectionError when it is gone."""
        self._connection.writer.write(data)
        await self._connection.writer.drain()

    def end_input(self) -> None:
        """Nothing more will be sent; output goes on."""
        writer = self._connection.writer
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()


class Client:
    """Asks one engine; each request has a connection of its own."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def ask(self, path: str, kind: type[T], query: Query | None = None) -> T:
        """GET, and decode the answer. Raises EngineError and UnreachableError."""
        return decoded(await self.ask_raw(path, query), kind)

    async def ask_raw(self, path: str, query: Query | None = None) -> bytes:
        """GET, and the answer as it is."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self.send("GET", path, query)
        except TimeoutError:
            raise UnreachableError(
                f"the engine did not answer within {_ANSWER_SECONDS:.0f} seconds"
            ) from None

    async def send(
        self, method: str, path: str, query: Query | None = None, body: Body = None
    ) -> bytes:
        """A request whose answer is short, however long it takes; its body."""
        async with self.stream(method, path, query, body) as response:
            return await response.read()

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Response]:
        """A request whose answer is read as it comes. Raises EngineError for a refusal."""
        connection = await self._connect()
        try:
            yield await _exchange(connection, method, _target(path, query), body, headers or {})
        finally:
            connection.close()

    @contextlib.asynccontextmanager
    async def hijack(
        self, path: str, query: Query | None = None, body: Body = None
    ) -> AsyncIterator[Hijacked]:
        """POST, and take the connection over. Raises EngineError for a refusal."""
        connection = await self._connect()
        upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"}
        try:
            target = _target(path, query)
            response = await _exchange(connection, "POST", target, body, upgrade)
            yield Hijacked(connection, response.headers.get("content-type", ""))
        finally:
            connection.close()

    async def _connect(self) -> Connection:
        address = self._address
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                if address.path:
                    return Connection(*await asyncio.open_unix_connection(address.path))
                if address.tls is not None:
                    return Connection(*await _open_tls(address, address.tls))
                return Connection(*await asyncio.open_connection(address.host, address.port))
        except TimeoutError:
            raise UnreachableError(f"no answer from the engine at {address.text}") from None
        except OSError as error:
            raise UnreachableError(_unreachable(address, error)) from None


async def _open_tls(
    address: Address, files: TlsFiles
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = _trusting(files)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    app = asyncio.StreamReaderProtocol(reader)
    _, protocol = await loop.create_connection(
        lambda: TlsProtocol(context, app, server_side=False, server_hostname=address.host),
        address.host,
        address.port,
    )
    transport = await protocol.established
    return reader, asyncio.StreamWriter(transport, app, reader, loop)


def _trusting(files: TlsFiles) -> ssl.SSLContext:
    for file in (files.ca, files.cert, files.key):
        try:
            file.open("rb").close()
        except OSError as error:
            raise CliError(f"{file}: {error.strerror}") from None
    try:
        context = ssl.create_default_context(cafile=files.ca)
        context.load_cert_chain(files.cert, files.key)
    except ssl.SSLError as error:
        raise CliError(f"the TLS files cannot be used: {error.reason or error}") from None
    return context


def _unreachable(address: Address, error: OSError) -> str:
    reason = error.strerror or str(error)
    if isinstance(error, TlsError):
        return f"cannot talk to the engine at {address.text}: {reason}"
    if isinstance(error, PermissionError):
        return (
            f"cannot reach the engine at {address.text}: {reason}; "
            "become root or a member of the socket's group"
        )
    return (
        f"cannot reach the engine at {address.text}: {reason}; is it running? "
        "start it with `systemctl start aiod` or `aiod serve`"
    )


def _target(path: str, query: Query | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


async def _exchange(
    connection: Connection, method: str, target: str, body: Body, headers: Mapping[str, str]
) -> Response:
    if isinstance(body, msgspec.Struct):
        kind, data = "application/json", _encode(body)
        response = await connection.request(method, target, {**headers, "Content-Type": kind}, data)
    elif body is None:
        response = await connection.request(method, target, headers, None)
    else:
        kind = "application/x-tar"
        response = await connection.request(method, target, {**headers, "Content-Type": kind}, body)
    if response.status >= 400:
        told = b"" if method == "HEAD" else await response.read()
        raise _refusal(response.status, told)
    return response


def _encode(body: msgspec.Struct) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise CliError("an argument is not valid UTF-8") from None


def _refusal(status: int, body: bytes) -> EngineError:
    try:
        message = msgspec.json.decode(body, type=_Failure).message
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = body.decode(errors="replace")
    return EngineError(" ".join(message.split()) or f"the engine answered {status}", status)


def decoded(body: bytes, kind: type[T]) -> T:
    """An answer's JSON as a struct; CliError if it is something else."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CliError(f"the engine's answer is not understood: {error}") from None


def container(name: str, verb: str = "") -> str:
    """The path of a container, or of one of its verbs."""
    return _path("containers", quote(_named(name, "container"), safe=""), verb)


def image(name: str, verb: str = "") -> str:
    """The path of an image, whose name may hold slashes."""
    return _path("images", quote(_named(name, "image"), safe="/:@"), verb)


def network(name: str, verb: str = "") -> str:
    """The path of a network, or of one of its verbs."""
    return _path("networks", quote(_named(name, "network"), safe=""), verb)


def volume(name: str) -> str:
    """The path of a volume."""
    return _path("volumes", quote(_named(name, "volume"), safe=""))


def _named(name: str, what: str) -> str:
    if not name or name.strip("./") == "":
        raise CliError(f"invalid {what} name {name!r}")
    return name


def _path(*parts: str) -> str:
    return "/" + "/".join(part for part in parts if part)
