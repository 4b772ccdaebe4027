"""Questions asked of both engines: the same containers found, the same status, the same shapes."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.engine import Engine
from tests.support.http import Reply
from tests.support.layertars import layer, member
from tests.support.shapes import shape, unlike

NAMES = ("running", "created", "exited")


def prepare(engine: Engine) -> None:
    """Three containers, made in this order."""
    with engine.api() as api:
        api.run("sleep", "1000", name="running", Labels={"a": "b", "c": ""})
        api.create("created", Image="base", Cmd=["true"], ExposedPorts={"80/tcp": {}})
        host = {"NetworkMode": "host", "Binds": ["/tmp:/mounted:ro"]}
        script = "echo first; echo second; exit 3"
        api.wait(api.run("sh", "-c", script, name="exited", HostConfig=host))


@pytest.fixture(scope="module")
def asked(engine: Engine, dockerd: Engine) -> Iterator[tuple[Engine, Engine]]:
    engines = (engine, dockerd)
    for each in dict.fromkeys(engines):
        prepare(each)
    yield engines
    for each in dict.fromkeys(engines):
        with each.api() as api:
            for name in NAMES:
                api.remove(name)


def listed(engine: Engine, query: str) -> list[str]:
    """The names that a list gives, in its order, of the three."""
    with engine.api() as api:
        rows = api.call("GET", f"/containers/json?{query}")
    names = [row["Names"][0].removeprefix("/") for row in rows]
    return [name for name in names if name in NAMES]


FILTERS: list[tuple[Any, list[str]]] = [
    ({}, ["exited", "created", "running"]),
    ({"status": ["running"]}, ["running"]),
    ({"status": ["created", "exited"]}, ["exited", "created"]),
    ({"status": {"running": True}}, ["running"]),
    ({"status": {"running": False}}, ["running"]),
    ({"exited": ["3"]}, ["exited"]),
    ({"exited": ["0"]}, []),
    ({"label": ["a"]}, ["running"]),
    ({"label": ["a=b"]}, ["running"]),
    ({"label": ["a=b", "c"]}, ["running"]),
    ({"label": ["a=c"]}, []),
    ({"name": ["run"]}, ["running"]),
    ({"name": ["^/?(created|exited)$"]}, ["exited", "created"]),
    ({"name": ["/running"]}, ["running"]),
    ({"name": ["("]}, []),
    ({"id": ["zz"]}, []),
    ({"id": [""]}, []),
    ({"status": None, "id": []}, ["exited", "created", "running"]),
    (None, ["exited", "created", "running"]),
    ({"ancestor": ["base"], "name": ["created"]}, ["created"]),
    ({"ancestor": ["no-such-image"]}, []),
    ({"before": ["created"]}, ["running"]),
    ({"since": ["created"]}, ["exited"]),
    ({"since": ["running", "running"]}, ["exited", "created"]),
    ({"before": ["exited"], "since": ["running"]}, ["created"]),
    ({"network": ["host"]}, ["exited"]),
    ({"network": ["none"]}, ["created", "running"]),
    ({"volume": ["/mounted"]}, ["exited"]),
    ({"volume": ["/other"]}, []),
    ({"expose": ["80"]}, []),  # nothing of it runs on a bridge: see test_ports
    ({"expose": ["80/udp"]}, []),
    ({"publish": ["80"]}, []),
    ({"is-task": ["false"]}, ["exited", "created", "running"]),
    ({"is-task": ["true"]}, []),
    ({"health": ["none"]}, ["exited", "created", "running"]),
    ({"isolation": ["default"]}, ["exited", "created", "running"]),
]


@pytest.mark.parametrize(("filters", "names"), FILTERS, ids=lambda value: json.dumps(value))
def test_filters(asked: tuple[Engine, Engine], filters: Any, names: list[str]) -> None:
    query = f"all=1&filters={quote(json.dumps(filters))}"
    found = [listed(engine, query) for engine in asked]
    assert found == [names, names]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["running"]),
        ("all=0", ["running"]),
        ("all=true", ["exited", "created", "running"]),
        ("limit=2", ["exited", "created"]),
        ("limit=-1", ["running"]),
        ("filters=" + quote('{"status": ["exited"]}'), ["exited"]),
        ("filters=" + quote('{"exited": ["3"]}'), []),
    ],
)
def test_lists(asked: tuple[Engine, Engine], query: str, names: list[str]) -> None:
    assert [listed(engine, query) for engine in asked] == [names, names]


# Each with the status that both give.
SAME = [
    ("POST", "/containers/exited/wait", 200),
    ("POST", "/containers/exited/wait?condition=not-running", 200),
    ("POST", "/containers/absent/wait", 404),
    ("POST", "/containers/running/resize", 400),
    ("POST", "/containers/running/resize?h=x&w=1", 400),
    ("POST", "/containers/running/resize?h=10", 400),
    ("POST", "/containers/running/resize?h=10&w=20", 200),
    ("POST", "/containers/created/resize?h=10&w=20", 409),
    ("POST", "/containers/absent/resize?h=10&w=20", 404),
    ("POST", "/containers/running/kill?signal=0", 400),
    ("POST", "/containers/running/kill?signal=SIGRTMIN%2B3", 204),
    ("POST", "/containers/exited/kill", 409),
    ("POST", "/containers/running/start", 304),
    ("POST", "/containers/exited/stop", 304),
    ("POST", "/containers/running/rename?name=running", 400),
    ("POST", "/containers/running/rename?name=a%20b", 400),
    ("POST", "/containers/running/rename?name=created", 409),
    ("POST", "/containers/absent/rename?name=other", 404),
    ("POST", "/containers/exited/pause", 409),
    ("POST", "/containers/running/unpause", 500),
    ("GET", "/containers/created/top", 409),
    ("GET", "/containers/running/top?ps_args=aux", 200),
    ("GET", "/containers/running/top?ps_args=-o%20comm", 500),
    ("GET", "/containers/running/logs", 400),
    ("GET", "/containers/exited/logs?stdout=1&stderr=1&tail=1", 200),
    ("GET", "/containers/exited/logs?stdout=1&stderr=1&tail=0", 200),
    ("GET", "/containers/exited/logs?stdout=1&stderr=1&tail=text", 200),
    ("GET", "/containers/exited/logs?stdout=1&stderr=1&details=1", 200),
    ("GET", "/containers/exited/logs?stdout=1&since=0.5&until=9999999999", 200),
    ("GET", "/containers/exited/logs?stdout=1&until=1", 200),
    ("GET", "/containers/exited/json?size=1", 200),
    ("DELETE", "/containers/absent?force=1", 404),
    ("GET", "/containers/%20/json", 404),
    ("GET", "/containers/%ff/json", 404),
    ("GET", "/containers/running%2fx/json", 404),
    ("GET", "/containers/json/", 404),
    ("GET", "/events?since=5&until=4", 400),
    ("GET", "/events?since=1&until=2", 200),
    ("GET", "/exec/absent/json", 404),
    ("POST", "/exec/absent/resize?h=1&w=1", 404),
    ("HEAD", "/_ping", 200),
    ("GET", "/_ping", 200),
    ("PUT", "/_ping", 404),
    ("GET", "/", 404),
    ("GET", "/v1.24/version", 200),
    ("GET", "/v1.40.1/version", 200),
    ("GET", "/v1/version", 400),
    ("GET", "/v1.99/version", 400),
]


def answers(asked: tuple[Engine, Engine], method: str, path: str) -> list[Reply]:
    found = []
    for engine in asked:
        with engine.api() as api:
            found.append(api.raw(method, path))
    return found


@pytest.mark.parametrize(("method", "path", "status"), SAME)
def test_same_status(asked: tuple[Engine, Engine], method: str, path: str, status: int) -> None:
    ours, theirs = answers(asked, method, path)
    assert (ours.status, theirs.status) == (status, status), ours.body
    if "/logs" in path:
        assert ours.body == theirs.body or status >= 400


# dockerd 20.10 fails inside (500), waits for ever or takes no notice; later releases say 400.
WRONG = [
    ("POST", "/containers/running/wait?condition=never"),
    ("POST", "/containers/running/stop?t=x"),
    ("POST", "/containers/running/stop?signal=NONE"),
    ("POST", "/containers/running/restart?t=99999999999999999999"),
    ("POST", "/containers/running/kill?signal=99"),
    ("POST", "/containers/running/attach?detachKeys=foo"),
    ("POST", "/containers/running/resize?h=-1&w=1"),
    ("POST", "/containers/running/resize?h=99999999999&w=1"),
    ("GET", "/containers/exited/logs?stdout=1&since=x"),
    ("GET", "/containers/exited/logs?stdout=1&until=x"),
    ("GET", "/containers/json?limit=x"),
    ("GET", "/containers/json?limit=99999999999999999999"),
    ("GET", "/containers/json?filters=" + quote('{"status": ["never"]}')),
    ("GET", "/containers/json?filters=" + quote('{"exited": ["x"]}')),
    ("GET", "/containers/json?filters=" + quote('{"expose": ["x"]}')),
    ("GET", "/containers/json?filters=" + quote('{"name": ["(a+)+$"]}')),
    ("GET", "/containers/json?filters=" + quote('{"status": "running"}')),
    ("GET", "/containers/json?filters=5"),
    ("GET", "/events?since=x"),
    ("GET", "/events?until=1&filters=x"),
    ("GET", "/events?until=1&filters=" + quote('{"other": ["x"]}')),
    ("GET", "/v1.23/_ping"),
]


@pytest.mark.parametrize(("method", "path"), WRONG)
def test_wrong_parameters(asked: tuple[Engine, Engine], method: str, path: str) -> None:
    engine = asked[0]
    if engine.name == "dockerd":
        pytest.skip("dockerd 20.10 answers otherwise")
    with engine.api() as api:
        reply = api.raw(method, path)
    assert reply.status == 400, reply.body
    assert reply.message


# `-`: gone since 20.10, or of parts that aiod has not; `+`: new since; `~`: null where it may be.
REGISTRY = "info.RegistryConfig"
KNOWN = {
    "-inspect.HostConfig.KernelMemory", "-inspect.HostConfig.KernelMemoryTCP",
    "~inspect.HostConfig.OomKillDisable", "+inspect.GraphDriver.Data.ID",
    "+inspect.NetworkSettings.Networks.none.DNSNames",
    "+inspect.NetworkSettings.Networks.none.GwPriority",
    "+list[].NetworkSettings.Networks.none.DNSNames",
    "+list[].NetworkSettings.Networks.none.GwPriority",
    "-inspect.Config.Labels.tag", "-list[].Labels.tag",
    "-info.KernelMemory", "-info.KernelMemoryTCP", "+info.CDISpecDirs", "~info.Warnings",
    "-info.InitBinary", f"~{REGISTRY}.AllowNondistributableArtifactsCIDRs",
    f"~{REGISTRY}.AllowNondistributableArtifactsHostnames",
    f"-{REGISTRY}.IndexConfigs.docker.io",
    "+info.Runtimes.aiod", "-info.Runtimes.runc", "-info.Runtimes.io.containerd.runc.v2",
    "-info.Runtimes.io.containerd.runtime.v1.linux",
    "-version.Components[].Details.BuildTime", "-version.Components[].Details.GitCommit",
    "-version.Components[].Details.GoVersion", "+version.Components[].Details.PythonVersion",
}  # fmt: skip


def test_shapes(asked: tuple[Engine, Engine]) -> None:
    """Of the newest version that the peer has, too."""
    shapes = []
    for engine in asked:
        with engine.api("1.41") as api:
            exec_id = api.call("POST", "/containers/running/exec", {"Cmd": ["true"]})["Id"]
            rows = api.call("GET", "/containers/json?all=1")
            shapes.append(
                {
                    "inspect": api.inspect("running"),
                    "list": [row for row in rows if row["Names"] == ["/running"]],
                    "info": api.call("GET", "/info"),
                    "version": api.call("GET", "/version"),
                    "exec": api.call("GET", f"/exec/{exec_id}/json"),
                    "top": api.call("GET", "/containers/running/top"),
                }
            )
    ours, theirs = map(shape, shapes)
    for name, found in ours.items():
        assert set(unlike(found, theirs[name], name)) - KNOWN == set()


def test_ancestors_of_a_built_image(engine: Engine) -> None:
    """What was built on an image is its descendant, of whatever name; a name that moved is not."""
    with engine.api() as api:
        for name, text in (("line", "FROM base\nLABEL a=b\n"), ("other", "FROM base\nLABEL a=c\n")):
            context = layer([member("Dockerfile", text.encode())])
            tar = {"Content-Type": "application/x-tar"}
            reply = api.raw("POST", f"/build?t={name}", context, tar)
            assert b"Successfully tagged" in reply.body, reply.body
        container = api.create(Image="line", Cmd=["true"])
        try:

            def found(ancestor: str) -> bool:
                filters = json.dumps({"ancestor": [ancestor]})
                rows = api.call("GET", "/containers/json", all="1", filters=filters)
                return container in [row["Id"] for row in rows]

            image = api.inspect(container)["Image"]
            assert [found(name) for name in ("line", "base", image, image[7:19])] == [True] * 4
            assert not found("other")
            api.call("POST", "/images/other/tag", repo="line", tag="latest")
            assert not found("line")
            assert found("base")
        finally:
            api.remove(container)
            for name in ("line", "other", image):
                api.send("DELETE", f"/images/{name}", force="1")
