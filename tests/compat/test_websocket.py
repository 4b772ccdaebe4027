"""Attach by WebSocket, as consoles in browsers do it; the same with dockerd."""

import asyncio

import aiohttp

from tests.support.engine import Engine


async def converse(engine: Engine, container: str, sent: bytes, version: str) -> tuple[bytes, int]:
    """Start it, send, and read until the end; what came, and the kind of the messages."""
    connector = aiohttp.UnixConnector(str(engine.socket))
    query = "stream=1&stdin=1&stdout=1&stderr=1"
    address = f"http://localhost/v{version}/containers/{container}/attach/ws?{query}"
    headers = {"Origin": "http://localhost"}
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        asyncio.timeout(60),
        session.ws_connect(address, headers=headers) as socket,
    ):
        start = f"http://localhost/containers/{container}/start"
        async with session.post(start) as reply:
            assert reply.status == 204
        await socket.send_bytes(sent)
        came, kind = b"", 0
        async for message in socket:
            kind = int(message.type)
            came += message.data if isinstance(message.data, bytes) else message.data.encode()
            if b"end\n" in came and b"wrong\n" in came:
                break
        return came, kind


def talk(engine: Engine, version: str) -> tuple[bytes, int]:
    with engine.api() as api:
        script = "read line; echo got $line; echo wrong >&2; echo end; exec sleep 1000"
        made = api.create(Image="base", Cmd=["sh", "-c", script], OpenStdin=True)
        try:
            return asyncio.run(converse(engine, made, b"hello\n", version))
        finally:
            api.remove(made)


def test_both_directions(engine: Engine) -> None:
    came, kind = talk(engine, "1.41")
    assert sorted(came.splitlines()) == [b"end", b"got hello", b"wrong"]
    assert kind == aiohttp.WSMsgType.BINARY


def test_old_clients_get_text(engine: Engine) -> None:
    came, kind = talk(engine, "1.27")
    assert b"got hello\n" in came
    assert kind == aiohttp.WSMsgType.TEXT


def test_what_is_no_handshake_is_refused(engine: Engine) -> None:
    with engine.api() as api:
        made = api.create(Image="base", Cmd=["true"])
        assert api.send("GET", f"/containers/{made}/attach/ws", stream="1").status == 400
        assert api.send("GET", "/containers/none/attach/ws", stream="1").status >= 400
        api.remove(made)
