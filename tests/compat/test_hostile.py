"""Input that no client would send: it is refused, nothing is left behind, and aiod goes on serving.

Statuses are aiod's own: dockerd 20.10 answers 500 to much of this, or takes no notice.
"""

import json
import socket
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.engine import Engine
from tests.support.http import Api

JSON = {"Content-Type": "application/json"}
QUICK = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def api(aiod: Engine) -> Iterator[Api]:
    """A connection to an aiod that has a running container `target`, and no more at the end."""
    with aiod.api() as connection:
        connection.run("sleep", "1000000", name="target")
        yield connection
        rows = connection.containers()
        connection.remove("target")
        assert [row["Names"] for row in rows] == [["/target"]]


def serves(api: Api) -> bool:
    return api.raw("GET", "/_ping").body == b"OK"


def create_body(extra: str) -> bytes:
    return b'{"Image": "base", "Cmd": ["true"], ' + extra.encode() + b"}"


BODIES = [
    (create_body('"StopTimeout": 99999999999999999999'), "64 bits"),
    (create_body('"HostConfig": {"Memory": 9223372036854775808}'), "64 bits"),
    (create_body('"HostConfig": {"Memory": 1e30}'), "Expected `int`"),
    (create_body('"HostConfig": {"Memory": 8388608.5}'), "Expected `int`"),
    (create_body('"Labels": {"a": ' + "[" * 5000 + "]" * 5000 + "}"), "invalid JSON"),
    (b"[" * 200_000 + b"]" * 200_000, "invalid JSON"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "invalid JSON"),
    (create_body('"Tty": true') + b" trailing", "invalid JSON"),
    (create_body('"Tty": true') + b"{}", "invalid JSON"),
    (create_body('"Hostname": "\xff"').decode().encode("latin-1"), "invalid JSON"),
    (create_body('"Hostname": "\\ud800"'), "invalid JSON"),
    (create_body('"Env": ["A=\\u0000"]'), "null byte"),
    (create_body('"Entrypoint": ["a\\u0000b"]'), "null byte"),
    (create_body('"Env": ["=b"]'), "invalid environment variable"),
    (create_body('"ExposedPorts": {"x": {}}'), "invalid port specification"),
    (create_body('"HostConfig": {"ConsoleSize": [1, 2, 3]}'), "ConsoleSize"),
    (create_body('"HostConfig": {"CpusetCpus": "' + "9" * 5000 + '"}'), "cpuset"),
    (create_body('"HostConfig": {"LogConfig": {"Config": {"max-file": "' + "9" * 5000 + '"}}}'),
     "max-file"),
    (create_body('"StopSignal": "' + "9" * 5000 + '"'), "invalid signal"),
    (b"null", "config cannot be empty"),
    (b"{}", "config cannot be empty"),
    (b"\xef\xbb\xbf{}", "invalid JSON"),
    (b"\x00" * 100, "invalid JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "says"), BODIES)
def test_refused_bodies(api: Api, body: bytes, says: str) -> None:
    reply = api.raw("POST", "/containers/create", body, JSON)
    assert reply.status == 400, reply.body
    assert says in reply.message
    assert serves(api)


def test_read_as_go_reads_it(api: Api) -> None:
    """Names in any case, nulls, unknown names and repeated ones: the last wins."""
    body = (
        '{"image": "no-such", "IMAGE": "base", "cmd": ["true"], "tty": true, "Hostname": null, '
        '"labels": {"a": null}, "hostconfig": {"networkMODE": "none", "Binds": null}, '
        '"unknown": [1]}'
    )
    made = api.raw("POST", "/containers/create", body.encode(), JSON)
    assert made.status == 201, made.body
    container = made.json()["Id"]
    shown = api.inspect(container)
    api.remove(container)
    assert (shown["Config"]["Tty"], shown["Config"]["Labels"]["a"]) == (True, "")
    assert shown["HostConfig"]["NetworkMode"] == "none"


PLACES = [
    "/containers/..%2f..%2fetc%2fpasswd/json", "/containers/%2e%2e/json", "/containers//json",
    "/containers/../../etc/json", "/containers/a%00b/json", "/containers/%ff%fe/json",
    "/containers/" + "a" * 5000 + "/json", "/exec/..%2f..%2fx/json", "/images/..%2f..%2fx/json",
    "/containers/%0d%0aX:%20y/json", "/images/%00/json", "/v1.51", "//", "/containers/*/json",
]  # fmt: skip


@pytest.mark.parametrize("path", PLACES)
def test_refused_paths(api: Api, path: str) -> None:
    reply = api.raw("GET", path)
    assert reply.status in (400, 404), reply.body
    assert reply.message
    assert serves(api)


RAW = [
    b"GET /_ping HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
    b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /_ping HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(100_000)) + b"\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /_ping HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /auth HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"\r\n" * 1000,
]


@pytest.mark.parametrize("data", RAW, ids=range(len(RAW)))
def test_no_http_at_all(aiod: Engine, api: Api, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(aiod.socket))
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer
    assert b"Traceback" not in answer
    assert serves(api)


def test_slow_clients_hold_nobody_up(aiod: Engine, api: Api) -> None:
    head = b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    stalled = []
    try:
        for start in (b"", b"GET /_pi", head, head + b"Content-Length: 100\r\n\r\n{") * 25:
            client = socket.socket(socket.AF_UNIX)
            stalled.append(client)
            client.connect(str(aiod.socket))
            client.sendall(start)
        assert serves(api)
        made = api.run("true")
        assert api.wait(made) == 0
        api.remove(made)
    finally:
        for client in stalled:
            client.close()
    assert serves(api)


LONG = ["x" * 200_000]


def test_command_that_no_kernel_takes(api: Api) -> None:
    container = api.create(Image="base", Cmd=LONG)
    refused = api.send("POST", f"/containers/{container}/start")
    assert (refused.status, api.state(container)["ExitCode"]) == (400, 126)
    api.remove(container)


def test_exec_that_no_kernel_takes(api: Api) -> None:
    made = api.call("POST", "/containers/target/exec", {"Cmd": LONG, "AttachStdout": True})
    told = api.raw("POST", f"/exec/{made['Id']}/start", b"{}", JSON)
    assert b"unable to start container process" in told.body
    shown = api.call("GET", f"/exec/{made['Id']}/json")
    assert (shown["Running"], shown["ExitCode"]) == (False, 126)


@pytest.mark.parametrize(
    "wrong",
    [{"Cmd": ["a\0"]}, {"Env": ["=b"]}, {"WorkingDir": "\0"}, {"User": "\0"},
     {"ConsoleSize": [1]}, {"ConsoleSize": [1, 70_000]}, {"DetachKeys": "ctrl-1"}],
)  # fmt: skip
def test_refused_execs(api: Api, wrong: dict[str, object]) -> None:
    reply = api.send("POST", "/containers/target/exec", {"Cmd": ["true"], **wrong})
    assert reply.status == 400, reply.body


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
EXEC_FIELDS = st.sampled_from(
    ["AttachStdin", "AttachStdout", "Tty", "Env", "Cmd", "User", "WorkingDir", "Privileged",
     "DetachKeys", "ConsoleSize"]
)  # fmt: skip


@QUICK
@given(body=VALUES | st.dictionaries(EXEC_FIELDS, VALUES))
def test_random_bodies_at_exec(api: Api, body: object) -> None:
    reply = api.raw("POST", "/containers/target/exec", json.dumps(body).encode(), JSON)
    assert reply.status == 201 or 400 <= reply.status < 500, reply.body
    assert serves(api)


@QUICK
@given(body=VALUES | st.dictionaries(st.sampled_from(["Detach", "Tty", "ConsoleSize"]), VALUES))
def test_random_bodies_at_exec_start(api: Api, body: object) -> None:
    data = json.dumps(body).encode()
    reply = api.raw("POST", "/exec/absent/start", data, JSON)
    assert 400 <= reply.status < 500, reply.body


QUERIES = st.sampled_from(
    [
        ("GET", "/containers/json", ("all", "limit", "size", "filters")),
        ("GET", "/containers/target/json", ("size",)),
        ("GET", "/containers/target/logs",
         ("stdout", "stderr", "tail", "since", "until", "timestamps", "details")),
        ("GET", "/containers/target/top", ("ps_args",)),
        ("GET", "/images/json", ("all", "filters", "digests")),
        ("POST", "/containers/target/resize", ("h", "w")),
        ("POST", "/containers/absent/stop", ("t", "signal")),
        ("POST", "/containers/absent/kill", ("signal",)),
        ("POST", "/containers/absent/wait", ("condition",)),
        ("POST", "/containers/absent/rename", ("name",)),
        ("DELETE", "/containers/absent", ("force", "v", "link")),
        ("POST", "/containers/create", ("name", "platform")),
    ]
)  # fmt: skip
TEXTS = st.text(max_size=30) | st.integers().map(str) | st.floats().map(str)


@QUICK
@given(where=QUERIES, values=st.lists(TEXTS, min_size=8, max_size=8))
@example(("GET", "/containers/target/logs", ("stdout", "tail")), ["1", "9" * 5000])
@example(("GET", "/containers/target/logs", ("stdout", "since")), ["1", "9" * 5000])
@example(("GET", "/containers/target/logs", ("stdout", "since")), ["1", "9999-99-99T99:99:99Z"])
@example(("GET", "/containers/json", ("limit",)), ["²"])
def test_random_queries(
    api: Api, where: tuple[str, str, tuple[str, ...]], values: list[str]
) -> None:
    method, path, names = where
    query = "&".join(
        f"{name}={quote(value.encode('utf-8', 'replace'))}"
        for name, value in zip(names, values, strict=False)
    )
    reply = api.raw(method, f"{path}?{query}")
    assert reply.status < 500 or "not supported" in reply.message, reply.body
    assert serves(api)


FILTER_NAMES = st.sampled_from(
    ["status", "label", "name", "ancestor", "before", "since", "exited", "id", "network",
     "volume", "expose", "publish", "is-task", "health", "isolation", "other"]
)  # fmt: skip


@QUICK
@given(
    filters=VALUES
    | st.dictionaries(FILTER_NAMES, st.lists(st.text(max_size=12), max_size=3), max_size=3)
    | st.dictionaries(FILTER_NAMES, st.dictionaries(st.text(), st.booleans(), max_size=2)),
    where=st.sampled_from(["/containers/json?all=1", "/events?until=1", "/images/json?a=1"]),
)
def test_random_filters(api: Api, filters: object, where: str) -> None:
    reply = api.raw("GET", f"{where}&filters={quote(json.dumps(filters))}")
    assert reply.status in (200, 400, 404), reply.body
    assert serves(api)


@QUICK
@given(path=st.binary(min_size=1, max_size=60), method=st.sampled_from(["GET", "POST", "DELETE"]))
def test_random_paths(api: Api, path: bytes, method: str) -> None:
    reply = api.raw(method, "/" + quote(path, safe="/?&=%"))
    assert reply.status in (400, 404), reply.body
    assert serves(api)
