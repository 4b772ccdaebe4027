"""What containers use, as clients compute with it; the fields beside dockerd's."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engine import Engine
from tests.support.http import UnixConnection


@pytest.fixture
def busy(engine: Engine) -> Iterator[str]:
    """A container that computes, with a limit."""
    with engine.api() as api:
        host = {"NetworkMode": "none", "Memory": 64 << 20, "PidsLimit": 50}
        made = api.run("sh", "-c", "while :; do :; done", HostConfig=host)
        yield made
        api.remove(made)


def shape(value: Any) -> Any:
    """The names of a document's fields, but for those the kernel gives."""
    if not isinstance(value, dict):
        return None
    return {key: None if key == "stats" else shape(field) for key, field in value.items()}


def test_one_answer_has_two_looks(engine: Engine, busy: str) -> None:
    with engine.api() as api:
        found = api.call("GET", f"/containers/{busy}/stats", stream="0")
    now, before = found["cpu_stats"], found["precpu_stats"]
    spent = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = now["system_cpu_usage"] - before["system_cpu_usage"]
    assert 0 < spent <= passed
    assert now["online_cpus"] >= 1
    assert found["memory_stats"]["limit"] == 64 << 20
    assert 0 < found["memory_stats"]["usage"] < 64 << 20
    details = found["memory_stats"]["stats"]
    assert "total_inactive_file" in details or "inactive_file" in details
    assert found["pids_stats"] == {"current": 1, "limit": 50}
    assert found["id"] == busy


def test_a_stream_goes_on_until_the_removal(engine: Engine) -> None:
    with engine.api() as api:
        made = api.run("sleep", "1000")
        connection = UnixConnection(engine.socket)
        connection.request("GET", f"/containers/{made}/stats")
        lines = connection.getresponse()
        first, second = json.loads(lines.readline()), json.loads(lines.readline())
        assert first["precpu_stats"]["cpu_usage"]["total_usage"] == 0
        assert second["preread"] == first["read"] != second["read"]
        api.remove(made)
        rest = lines.read()
        assert all(json.loads(line)["id"] == made for line in rest.splitlines())
        connection.close()


def test_what_does_not_run_uses_nothing(engine: Engine, dockerd: Engine) -> None:
    found = []
    for each in (engine, dockerd):
        with each.api() as api:
            made = api.create("idle", Image="base", Cmd=["true"])
            answer = api.call("GET", "/containers/idle/stats", stream="0")
            assert answer.pop("id", made) == made
            assert answer.pop("name") == "/idle"
            found.append(answer)
            api.remove(made)
    ours, theirs = found
    assert ours["read"] == theirs["read"] == "0001-01-01T00:00:00Z"
    assert shape(ours) == shape(theirs)


def test_the_fields_are_those_of_dockerd(engine: Engine, dockerd: Engine) -> None:
    found = []
    for each in (engine, dockerd):
        with each.api() as api:
            made = api.run("sleep", "1000")
            found.append(api.call("GET", f"/containers/{made}/stats", stream="0"))
            api.remove(made)
    ours, theirs = found
    missing = shape(theirs)
    missing["memory_stats"].pop("failcnt", None)
    missing["pids_stats"].pop("limit", None)  # of version 2 dockerd says the largest number
    ours_shape = shape(ours)
    for part, fields in missing.items():
        assert part in ours_shape
        for field in fields or ():
            assert field in ours_shape[part], (part, field)
    for name in ("total_inactive_file", "inactive_file"):  # which clients subtract
        assert (name in ours["memory_stats"]["stats"]) == (name in theirs["memory_stats"]["stats"])


def test_one_shot(engine: Engine, busy: str) -> None:
    with engine.api() as api:
        query = {"stream": "0", "one-shot": "1"}
        found = api.call("GET", f"/containers/{busy}/stats", None, **query)
        assert found["cpu_stats"]["cpu_usage"]["total_usage"] > 0
        assert found["precpu_stats"]["cpu_usage"]["total_usage"] == 0
        reply = api.send("GET", f"/containers/{busy}/stats", None, **{"one-shot": "1"})
        assert reply.status == 400
        assert reply.message == "cannot have stream=true and one-shot=true"


def test_of_who_is_not_there(engine: Engine) -> None:
    with engine.api() as api:
        assert api.send("GET", "/containers/none/stats", stream="0").status == 404


def test_the_command_shows_them(engine: Engine, busy: str) -> None:
    shown = engine.docker("stats", "--no-stream", "--format", "{{json .}}", busy).stdout
    found = json.loads(shown)
    assert found["ID"] == busy[:12]
    assert found["MemUsage"].endswith("/ 64MiB")
    assert float(found["CPUPerc"].rstrip("%")) > 0
    assert found["PIDs"] == "1"
