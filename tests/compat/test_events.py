"""The event log: what is told, to whom, and that nobody misses any of it."""

import json
import socket
import time
from typing import Any
from urllib.parse import quote

import pytest

from aiod.shim import protocol
from tests.support.daemon import AiodDaemon
from tests.support.engine import Engine, eventually
from tests.support.layertars import layer
from tests.support.processes import Identity, send, wait_gone

TAR = {"Content-Type": "application/x-tar"}


def events(engine: Engine, since: float, filters: Any = None) -> list[Any]:
    """Everything from `since` to now; the log is whole only up to a moment that has passed."""
    query = f"since={since:.9f}&until={time.time():.9f}"
    if filters is not None:
        query += f"&filters={quote(json.dumps(filters))}"
    with engine.api() as api:
        reply = api.raw("GET", f"/events?{query}")
    assert reply.status == 200, reply.body
    return [json.loads(line) for line in reply.body.splitlines()]


@pytest.fixture(scope="module")
def lived(engine: Engine, dockerd: Engine) -> list[tuple[Engine, float]]:
    """The same short life of a container in both engines, each with the moment before it."""
    begun = {}
    for each in dict.fromkeys((engine, dockerd)):
        begun[each] = time.time()
        live(each)
    return [(each, begun[each]) for each in (engine, dockerd)]


def live(engine: Engine) -> None:
    with engine.api() as api:
        container = api.create("one-life", Image="base", Cmd=["sleep", "1000"], Labels={"a": "b"})
        api.start(container)
        made = api.call("POST", f"/containers/{container}/exec", {"Cmd": ["sh", "-c", "exit 4"]})
        api.call("POST", f"/exec/{made['Id']}/start", {"Detach": True})
        api.call("GET", f"/containers/{container}/top")
        api.call("POST", f"/containers/{container}/update", {"CpuShares": 100})
        for path in ("changes", "export", "archive?path=/etc"):
            api.raw("GET", f"/containers/{container}/{path}")
        api.raw("PUT", f"/containers/{container}/archive?path=/", layer([]), TAR)
        for verb in ("pause", "unpause", "rename?name=other-life", "kill?signal=KILL"):
            api.call("POST", f"/containers/{container}/{verb}")
        api.wait(container)
        api.remove(container)


def told(found: list[Any]) -> list[str]:
    """The actions that come in a certain order: an exec ends when it does."""
    return [event["Action"] for event in found if event["Action"] != "exec_die"]


def test_a_life_is_told_alike(lived: list[tuple[Engine, float]]) -> None:
    ours, theirs = (events(*each, {"type": ["container"]}) for each in lived)
    assert told(ours) == told(theirs)
    for action in ("create", "start", "die", "kill", "rename", "destroy", "pause"):
        mine, peer = (
            next(event for event in found if event["Action"] == action) for found in (ours, theirs)
        )
        assert mine.keys() == peer.keys()
        ignored = {"tag", "execDuration"}  # of the peer's image; since 23.0
        assert mine["Actor"].keys() == peer["Actor"].keys()
        names = mine["Actor"]["Attributes"].keys() - ignored
        assert names == peer["Actor"]["Attributes"].keys() - ignored
    died = next(event for event in ours if event["Action"] == "die")
    assert died["Actor"]["Attributes"]["exitCode"] == "137"


@pytest.mark.parametrize("bounds", ["since=0&until={}", "until=0", "since=0&until=0"])
def test_zero_is_a_time(lived: list[tuple[Engine, float]], bounds: str) -> None:
    """The beginning of all, where the log begins; as an end it is now."""
    query = bounds.format(int(time.time()) + 1)
    for engine, _ in lived:
        with engine.api() as api:
            reply = api.raw("GET", f"/events?{query}")
        created = [event for event in map(json.loads, reply.body.splitlines())
                   if event["Action"] == "create" and "one-life" in str(event)]  # fmt: skip
        assert len(created) == 1, engine.name


@pytest.mark.parametrize(
    "filters",
    [
        {"event": ["start", "die"], "type": ["container"]},
        {"event": ["exec_create"]},
        {"container": ["other-life"]},
        {"container": ["one-life"]},
        {"container": ["absent"]},
        {"image": ["base"], "event": ["create"]},
        {"image": ["absent"]},
        {"label": ["a"], "event": ["create", "destroy"]},
        {"label": ["a=c"]},
        {"scope": ["swarm"]},
        {"scope": ["local"], "event": ["rename"]},
    ],
    ids=json.dumps,
)
def test_filters(lived: list[tuple[Engine, float]], filters: Any) -> None:
    ours, theirs = (told(events(*each, filters)) for each in lived)
    assert ours == theirs


def test_a_slow_reader_misses_nothing(aiod: Engine) -> None:
    """More than all buffers hold is told to a client that reads none of it until the end."""
    wanted = {"container": ["talkative"], "event": ["exec_create"]}
    with aiod.api() as api, socket.socket(socket.AF_UNIX) as reader:
        api.run("sleep", "1000000", name="talkative")
        reader.settimeout(60)
        reader.connect(str(aiod.socket))
        path = f"/events?since={time.time():.9f}&filters={quote(json.dumps(wanted))}"
        reader.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        for number in range(1500):
            command = ["echo", str(number), "x" * 500]
            api.call("POST", "/containers/talkative/exec", {"Cmd": command})
        api.remove("talkative")
        assert _numbers(reader, 1500) == list(range(1500))


def _numbers(reader: socket.socket, count: int) -> list[int]:
    data = b""
    while data.count(b"\n", data.find(b"\r\n\r\n") + 4) < count:
        piece = reader.recv(1 << 16)
        assert piece, "the stream of events ended"
        data += piece
    lines = data.partition(b"\r\n\r\n")[2].splitlines()
    return [int(json.loads(line)["Action"].split()[2]) for line in lines if line.startswith(b"{")]


def test_what_happened_while_no_daemon_ran(daemon: AiodDaemon) -> None:
    """Told once, with the time at which it happened, also to who had read up to the crash."""
    before = time.time()
    with daemon.api() as api:
        container = api.run("sh", "-c", "read x; exit 9", OpenStdin=True, name="orphan")
        pid = api.state(container)["Pid"]
    daemon.sigkill()
    down = time.time()
    _end(pid)
    record = daemon.paths.shim(container) / protocol.EXIT_FILE
    eventually(record.exists, bool)
    up = time.time()
    daemon.restart()
    with daemon.api() as api:
        assert api.wait(container) == 137
        api.remove(container)
    found = events(daemon, before, {"type": ["container"]})
    assert told(found) == ["create", "start", "die", "destroy"]
    assert down <= found[2]["timeNano"] / 1e9 <= up


def _end(pid: int) -> None:
    process = Identity.of(pid)
    send(process)
    wait_gone(process)


def test_each_exec_ends_once(engine: Engine) -> None:
    """Whoever waits for its end sees it at the same time as those who do not."""
    since, name = time.time(), "many-execs"
    engine.docker("run", "-d", "--network", "none", "--name", name, "base", "sleep", "1000")
    try:
        for code in range(10):
            done = engine.docker("exec", name, "sh", "-c", f"exit {code}", check=False)
            assert done.returncode == code
        found = events(engine, since, {"event": ["exec_die"], "container": [name]})
    finally:
        engine.docker("rm", "-f", name)
    codes = range(10)
    assert [event["Actor"]["Attributes"]["exitCode"] for event in found] == [str(c) for c in codes]
