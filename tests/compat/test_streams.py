"""Hijacked streams, byte for byte: headers, frames, half-close, detach keys, vanishing clients."""

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import AiodDaemon
from tests.support.engine import Engine, eventually
from tests.support.hijacked import Hijack
from tests.support.http import Api, frames

RAW = "application/vnd.docker.raw-stream"
FRAMED = "application/vnd.docker.multiplexed-stream"


@pytest.fixture
def api(engine: Engine) -> Iterator[Api]:
    with engine.api() as connection:
        yield connection


@pytest.fixture
def asleep(api: Api) -> Iterator[str]:
    container = api.run("sleep", "1000000")
    yield container
    api.remove(container)


@pytest.fixture
def echo(api: Api) -> Iterator[str]:
    """A container that says what it is told until its input ends."""
    container = api.run("cat", OpenStdin=True, StdinOnce=True)
    yield container
    api.remove(container)


def exec_of(api: Api, container: str, *command: str, **config: Any) -> str:
    asked = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, **config}
    return str(api.call("POST", f"/containers/{container}/exec", asked)["Id"])


def split(data: bytes) -> dict[int, bytes]:
    found = {1: b"", 2: b""}
    for stream, piece in frames(data):
        found[stream] += piece
    return found


def attach_path(container: str, version: str = "", **query: str) -> str:
    wanted = {"stream": "1", "stdin": "1", "stdout": "1", "stderr": "1", **query}
    words = "&".join(f"{name}={value}" for name, value in wanted.items() if value)
    return f"{version}/containers/{container}/attach?{words}"


def test_attach_with_upgrade(engine: Engine, echo: str, api: Api) -> None:
    with Hijack(engine, attach_path(echo)) as stream:
        assert stream.status == 101
        assert stream.headers["Connection"] == "Upgrade"
        assert stream.headers["Upgrade"] == "tcp"
        stream.send(b"hello\n")
        stream.expect(b"hello\n")
        stream.end_input()
        assert stream.read_all() == b""
    assert api.wait(echo) == 0


def test_attach_without_upgrade(engine: Engine, echo: str) -> None:
    with Hijack(engine, attach_path(echo), upgrade=False) as stream:
        assert stream.status == 200
        assert "Upgrade" not in stream.headers
        stream.send(b"hello\n")
        stream.end_input()
        assert split(stream.read_all()) == {1: b"hello\n", 2: b""}


@pytest.mark.parametrize(
    ("version", "tty", "kind"),
    [("/v1.41", False, RAW), ("/v1.42", False, FRAMED), ("/v1.51", False, FRAMED),
     ("/v1.51", True, RAW), ("", False, FRAMED)],
)  # fmt: skip
def test_content_type(engine: Engine, api: Api, version: str, tty: bool, kind: str) -> None:
    if engine.name == "dockerd" and version != "/v1.41":
        pytest.skip("dockerd 20.10 ends at 1.41")
    container = api.run("sleep", "1000000", Tty=tty)
    try:
        with Hijack(engine, attach_path(container, version)) as stream:
            assert stream.headers["Content-Type"] == kind
        made = exec_of(api, container, "true", Tty=tty)
        with Hijack(engine, f"{version}/exec/{made}/start", {"Tty": tty}) as stream:
            assert stream.headers["Content-Type"] == kind
    finally:
        api.remove(container)


def test_exec_streams_are_told_apart(engine: Engine, asleep: str, api: Api) -> None:
    made = exec_of(api, asleep, "sh", "-c", "echo out; echo err >&2; exit 4")
    with Hijack(engine, f"/exec/{made}/start", {}) as stream:
        assert split(stream.read_all()) == {1: b"out\n", 2: b"err\n"}
    shown = api.call("GET", f"/exec/{made}/json")
    assert (shown["Running"], shown["ExitCode"], shown["ContainerID"]) == (False, 4, asleep)
    again = api.send("POST", f"/exec/{made}/start", {})
    assert b"has already run" in again.body


def test_exec_terminal_is_raw(engine: Engine, asleep: str, api: Api) -> None:
    made = exec_of(api, asleep, "sh", AttachStdin=True, Tty=True)
    with Hijack(engine, f"/exec/{made}/start", {"Tty": True}) as stream:
        api.call("POST", f"/exec/{made}/resize", h=30, w=99)
        stream.send(b"stty size; exit 3\n")
        stream.expect(b"\r\n30 99\r\n")
        stream.read_all()
    eventually(lambda: api.call("GET", f"/exec/{made}/json"), lambda s: s["ExitCode"] == 3)


def test_exec_detached(asleep: str, api: Api) -> None:
    made = exec_of(api, asleep, "touch", "/made")
    assert api.send("POST", f"/exec/{made}/start", {"Detach": True}).status == 200
    eventually(lambda: api.call("GET", f"/exec/{made}/json"), lambda s: s["ExitCode"] == 0)


def test_an_exec_that_nobody_is_attached_to_is_not_waited_for(
    engine: Engine, asleep: str, api: Api
) -> None:
    config = {"AttachStdout": False, "AttachStderr": False}
    made = exec_of(api, asleep, "sleep", "1000000", **config)
    with Hijack(engine, f"/exec/{made}/start", {}) as stream:
        assert stream.read_all() == b""
    assert api.call("GET", f"/exec/{made}/json")["Running"]


@pytest.mark.parametrize(("keys", "typed"), [("", b"\x10\x11"), ("ctrl-x,q", b"\x18q")])
def test_detach_keys(engine: Engine, api: Api, keys: str, typed: bytes) -> None:
    container = api.run("cat", OpenStdin=True, Tty=True)
    try:
        with Hijack(engine, attach_path(container, detachKeys=keys)) as stream:
            stream.send(b"hello\n")
            stream.expect(b"hello\r\nhello\r\n")
            stream.send(typed)
            stream.read_all()
        assert api.state(container)["Running"]
        with Hijack(engine, attach_path(container)) as stream:
            stream.send(b"again\n")
            stream.expect(b"again\r\nagain\r\n")
    finally:
        api.remove(container)


def test_attach_shows_the_past_first(engine: Engine, api: Api) -> None:
    container = api.run("sh", "-c", "echo before; read x; echo after $x", OpenStdin=True)
    try:
        eventually(lambda: api.logs(container), lambda data: data == b"before\n")
        with Hijack(engine, attach_path(container, logs="1")) as stream:
            stream.expect(b"before\n")
            stream.send(b"all\n")
            assert split(stream.read_all())[1] == b"after all\n"
    finally:
        api.remove(container)


def through(stream: Hijack) -> None:
    """200 MB there and back arrive as they were."""
    data = os.urandom(1 << 20) * 200
    sender = threading.Thread(target=stream.send_all_and_end, args=(data,))
    sender.start()
    hashed, size = hashlib.sha256(), 0
    for kind, piece in frames_of(stream):
        assert kind == 1
        hashed.update(piece)
        size += len(piece)
    sender.join()
    assert size == len(data)
    assert hashed.digest() == hashlib.sha256(data).digest()


def frames_of(stream: Hijack) -> Iterator[tuple[int, bytes]]:
    """Frames one by one: not all of them in memory."""
    while head := stream.read_exactly(8):
        yield head[0], stream.read_exactly(int.from_bytes(head[4:], "big"))


def test_200_megabytes_through_exec(engine: Engine, asleep: str, api: Api) -> None:
    made = exec_of(api, asleep, "cat", AttachStdin=True, AttachStderr=False)
    with Hijack(engine, f"/exec/{made}/start", {}) as stream:
        through(stream)


def test_200_megabytes_through_attach(engine: Engine, api: Api) -> None:
    host = {"NetworkMode": "none", "LogConfig": {"Type": "none"}}
    container = api.run("cat", OpenStdin=True, StdinOnce=True, HostConfig=host)
    try:
        with Hijack(engine, attach_path(container)) as stream:
            through(stream)
        assert api.wait(container) == 0
    finally:
        api.remove(container)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def shim_of(api: Api, container: str) -> int:
    init = api.state(container)["Pid"]
    status = Path(f"/proc/{init}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


def vanish(engine: Engine, api: Api, container: str) -> None:
    with Hijack(engine, attach_path(container)):
        pass
    made = exec_of(api, container, "cat", AttachStdin=True)
    with Hijack(engine, f"/exec/{made}/start", {}) as stream:
        stream.send(b"x")
        stream.expect(b"x")


def no_execs_left(api: Api, container: str) -> None:
    eventually(lambda: api.inspect(container)["ExecIDs"], lambda ids: not ids)


def test_vanishing_clients_leak_no_descriptor(daemon: AiodDaemon) -> None:
    """1,000 clients go away without a word; each of their execs ends with its input."""
    with daemon.api() as api:
        container = api.run("cat", OpenStdin=True)
        pids = (daemon.pid, shim_of(api, container))
        vanish(daemon, api, container)
        no_execs_left(api, container)
        before = [descriptors(pid) for pid in pids]
        for _ in range(100):
            vanish(daemon, api, container)
        for _ in range(800):
            with Hijack(daemon, attach_path(container)):
                pass
        no_execs_left(api, container)
        slack = 2  # the API's own connections come and go
        eventually(
            lambda: [descriptors(pid) for pid in pids],
            lambda now: all(n <= b + slack for n, b in zip(now, before, strict=True)),
        )
        assert len(api.call("GET", f"/containers/{container}/top")["Processes"]) == 1
