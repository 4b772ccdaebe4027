"""Wrong requests: aiod answers each with the status that dockerd, run beside it, gives.

Sizes have no peer: dockerd reads whatever it is sent, aiod says 413.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.engine import Engine
from tests.support.http import Api, Reply

JSON = {"Content-Type": "application/json"}
SLEEP = b'{"Image": "base", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}}'


@dataclass(frozen=True, slots=True)
class Wrong:
    """One wrong request, the status it deserves, and a word of the message."""

    title: str
    method: str
    path: str
    status: int
    body: bytes | None = None
    says: str = ""
    content_type: str = "application/json"

    @property
    def as_dockerd(self) -> set[int]:
        """What dockerd may say: releases before 23.0 answer 500 where later ones say 400."""
        return {self.status, 500} if self.status == 400 else {self.status}


def create(title: str, body: str, status: int, says: str = "", query: str = "") -> Wrong:
    path = f"/containers/create{query}"
    return Wrong(title, "POST", path, status, body.encode(), says)


CASES = [
    create("malformed JSON", '{"Image": ', 400),
    create("no JSON at all", "hello", 400, "invalid character"),
    create("empty body", "", 400),
    create("array for object", "[]", 400),
    create("string for object", '"x"', 400),
    create("number for image", '{"Image": 5}', 400),
    create("number in command", '{"Image": "base", "Cmd": [1]}', 400),
    create("text for memory", '{"Image": "base", "HostConfig": {"Memory": "1g"}}', 400),
    create("text for boolean", '{"Image": "base", "Tty": "yes"}', 400),
    create("list for labels", '{"Image": "base", "Labels": ["a"]}', 400),
    create("unknown image", '{"Image": "no-such"}', 404, "No such image: no-such"),
    create("bad reference", '{"Image": "UPPER:::x"}', 400),
    create("invalid name", SLEEP.decode(), 400, "Invalid container name", "?name=a%20b"),
    create("short name", SLEEP.decode(), 400, "Invalid container name", "?name=x"),
    create("duplicate name", SLEEP.decode(), 409, "already in use", "?name=running"),
    create("tiny memory", '{"Image": "base", "HostConfig": {"Memory": 1000}}', 400, "inimum"),
    create(
        "unknown restart policy",
        '{"Image": "base", "HostConfig": {"RestartPolicy": {"Name": "sometimes"}}}',
        400,
    ),
    create(
        "relative bind",
        '{"Image": "base", "HostConfig": {"Binds": ["./a:/b"], "NetworkMode": "none"}}',
        400,
    ),
    create(
        "relative mount target",
        '{"Image": "base", "HostConfig": {"Binds": ["/a:b"], "NetworkMode": "none"}}',
        400,
    ),
    create(
        "relative working directory", '{"Image": "base", "WorkingDir": "etc"}', 400, "absolute path"
    ),
    Wrong("wrong content type", "POST", "/containers/create", 400, SLEEP, "", "text/plain"),
    Wrong("start of a running container", "POST", "/containers/running/start", 304),
    Wrong("stop of a created container", "POST", "/containers/created/stop", 304),
    Wrong("removal of a running container", "DELETE", "/containers/running", 409, None, "running"),
    Wrong(
        "kill of a created container", "POST", "/containers/created/kill", 409, None, "not running"
    ),
    Wrong(
        "unknown signal", "POST", "/containers/running/kill?signal=NOPE", 400, None, "nvalid signal"
    ),
    Wrong(
        "pause of a created container",
        "POST",
        "/containers/created/pause",
        409,
        None,
        "not running",
    ),
    Wrong(
        "unpause of a running container",
        "POST",
        "/containers/running/unpause",
        500,
        None,
        "not paused",
    ),
    Wrong("top of a created container", "GET", "/containers/created/top", 409, None, "not running"),
    Wrong(
        "absent container", "GET", "/containers/absent/json", 404, None, "No such container: absent"
    ),
    Wrong("start of an absent container", "POST", "/containers/absent/start", 404, None, "absent"),
    Wrong("removal of an absent container", "DELETE", "/containers/absent", 404, None, "absent"),
    Wrong(
        "logs of an absent container",
        "GET",
        "/containers/absent/logs?stdout=1",
        404,
        None,
        "absent",
    ),
    Wrong("logs of no stream", "GET", "/containers/running/logs", 400, None, "at least one stream"),
    Wrong(
        "attach to an absent container", "POST", "/containers/absent/attach", 404, None, "absent"
    ),
    Wrong("rename to nothing", "POST", "/containers/running/rename", 400),
    Wrong(
        "rename to a used name",
        "POST",
        "/containers/running/rename?name=created",
        409,
        None,
        "in use",
    ),
    Wrong("bad filter", "GET", "/containers/json?filters=%7Bx", 400),
    Wrong("unknown filter", "GET", "/containers/json?filters=%7B%22x%22%3A%5B%22y%22%5D%7D", 400),
    Wrong(
        "exec without command",
        "POST",
        "/containers/running/exec",
        400,
        b'{"Cmd": []}',
        "No exec command",
    ),
    Wrong(
        "exec in a created container",
        "POST",
        "/containers/created/exec",
        409,
        b'{"Cmd": ["a"]}',
        "not running",
    ),
    Wrong("exec in an absent container", "POST", "/containers/absent/exec", 404, b'{"Cmd": ["a"]}'),
    Wrong("absent exec", "GET", "/exec/absent/json", 404, None, "No such exec instance"),
    Wrong(
        "start of an absent exec", "POST", "/exec/absent/start", 404, b"{}", "No such exec instance"
    ),
    Wrong("absent image", "GET", "/images/absent/json", 404, None, "No such image: absent"),
    Wrong(
        "removal of an absent image", "DELETE", "/images/absent", 404, None, "No such image: absent"
    ),
    Wrong(
        "import of no archive",
        "POST",
        "/images/create?fromSrc=-&repo=x",
        400,
        b"no tar at all" * 99,
        "",
        "application/x-tar",
    ),
    Wrong("absent page", "GET", "/no/such/page", 404, None, "page not found"),
    Wrong("wrong method", "PATCH", "/containers/json", 404, None, "page not found"),
    Wrong("version too old", "GET", "/v1.0/containers/json", 400, None, "too old"),
    Wrong("version too new", "GET", "/v9.99/containers/json", 400, None, "too new"),
]


def prepare(engine: Engine) -> None:
    """Have one container `running` and one `created`."""
    with engine.api() as api:
        for name in ("running", "created"):
            api.raw("POST", f"/containers/create?name={name}", SLEEP, JSON)
        api.start("running")


def unprepare(engine: Engine) -> None:
    with engine.api() as api:
        for name in ("running", "created"):
            api.send("DELETE", f"/containers/{name}", force="1")


@pytest.fixture(scope="module")
def prepared(engine: Engine) -> Iterator[Engine]:
    prepare(engine)
    yield engine
    unprepare(engine)


@pytest.fixture(scope="module")
def peer(dockerd: Engine) -> Iterator[Engine]:
    prepare(dockerd)
    yield dockerd
    unprepare(dockerd)


def ask(engine: Engine, case: Wrong) -> Reply:
    headers = {} if case.body is None else {"Content-Type": case.content_type}
    with engine.api() as api:
        return api.raw(case.method, case.path, case.body, headers)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title.replace(" ", "-"))
def test_answers_like_dockerd(prepared: Engine, peer: Engine, case: Wrong) -> None:
    reply = ask(prepared, case)
    allowed = case.as_dockerd
    assert ask(peer, case).status in allowed
    assert reply.status in (allowed if prepared.name == "dockerd" else {case.status}), reply.body
    assert case.says in reply.message


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("no-such", 127, 'exec: "no-such": executable file not found in $PATH'),
        ("/no/such", 127, 'exec: "/no/such": stat /no/such: no such file or directory'),
        ("/etc/passwd/x", 127, 'exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
        ("/etc", 126, "permission denied"),
    ],
)
def test_start_that_cannot_execute(
    prepared: Engine, peer: Engine, command: str, code: int, says: str
) -> None:
    replies, codes = [], []
    for engine in (prepared, peer):
        with engine.api() as api:
            container = api.create(Image="base", Cmd=[command])
            replies.append(api.send("POST", f"/containers/{container}/start"))
            state = api.state(container)
            codes.append((state["Status"], state["ExitCode"], state["Running"]))
            api.remove(container)
    assert [reply.status for reply in replies] == [400, 400], replies[0].message
    assert codes[0] == codes[1] == ("created", code, False)
    assert says in replies[0].message
    assert says in replies[1].message


def test_body_too_large(prepared: Engine) -> None:
    if prepared.name == "dockerd":
        pytest.skip("dockerd has no limit")
    body = b'{"Image": "' + b"x" * (100 << 20) + b'"}'
    with prepared.api() as api:
        try:
            reply = api.raw("POST", "/containers/create", body, JSON)
        except (BrokenPipeError, ConnectionResetError):
            pytest.fail("the connection was cut before an answer could be read")
        assert reply.status == 413
    with prepared.api() as api:
        assert api.raw("GET", "/_ping").body == b"OK"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["Cmd", "Entrypoint", "Env", "Labels", "Tty", "User", "WorkingDir", "Hostname", "StopSignal",
     "StopTimeout", "Volumes", "ExposedPorts", "HostConfig", "NetworkingConfig", "Healthcheck"]
)  # fmt: skip
HOST_FIELDS = st.sampled_from(
    ["Binds", "Memory", "NanoCpus", "RestartPolicy", "NetworkMode", "PortBindings", "LogConfig",
     "Mounts", "Devices", "Ulimits", "CapAdd", "SecurityOpt", "Tmpfs", "PidMode", "Sysctls"]
)  # fmt: skip
BODIES = st.one_of(
    VALUES,
    st.fixed_dictionaries({"Image": VALUES}),
    st.dictionaries(FIELDS, VALUES).map(lambda fields: {"Image": "no-such-image", **fields}),
    st.dictionaries(HOST_FIELDS, VALUES).map(
        lambda fields: {"Image": "no-such-image", "HostConfig": fields}
    ),
)


@pytest.fixture(scope="module")
def connection(engine: Engine) -> Iterator[Api]:
    if engine.name == "dockerd":
        pytest.skip("dockerd before 23.0 answers 500 to most of these")
    with engine.api() as api:
        yield api


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(body=BODIES)
def test_random_bodies_at_create(connection: Api, body: object) -> None:
    reply = connection.raw("POST", "/containers/create", json.dumps(body).encode(), JSON)
    assert 400 <= reply.status < 500, reply.body
    assert connection.raw("GET", "/_ping").body == b"OK"


@settings(max_examples=50, deadline=None, derandomize=True)
@given(body=st.binary(min_size=1, max_size=200))
def test_random_bytes_at_create(connection: Api, body: bytes) -> None:
    reply = connection.raw("POST", "/containers/create", body, JSON)
    assert 400 <= reply.status < 500, reply.body
    assert connection.raw("GET", "/_ping").body == b"OK"
