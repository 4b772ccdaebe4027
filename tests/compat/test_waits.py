"""The three conditions of wait, begun before or after what they wait for."""

from collections.abc import Iterator

import pytest

from tests.support.engine import Engine, eventually
from tests.support.http import Api
from tests.support.waiting import Waiting


@pytest.fixture
def api(engine: Engine) -> Iterator[Api]:
    with engine.api() as connection:
        yield connection


@pytest.fixture
def reader(api: Api) -> Iterator[str]:
    """A container, not yet started, that ends with code 5 when it is killed by TERM."""
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    container = api.create(Image="base", Cmd=["sh", "-c", script])
    yield container
    api.send("DELETE", f"/containers/{container}", force="1")


def start(api: Api, container: str) -> None:
    before = api.logs(container).count(b"ready")
    api.start(container)
    eventually(lambda: api.logs(container).count(b"ready"), lambda count: count > before)


def end(api: Api, container: str) -> None:
    api.call("POST", f"/containers/{container}/stop", t=20)


@pytest.mark.parametrize("condition", ["", "not-running", "next-exit"])
def test_wait_for_the_end(engine: Engine, api: Api, reader: str, condition: str) -> None:
    start(api, reader)
    waiting = Waiting(engine, reader, condition)
    end(api, reader)
    assert waiting.result()["StatusCode"] == 5


def test_not_running_holds_already(engine: Engine, api: Api, reader: str) -> None:
    assert Waiting(engine, reader, "not-running").result()["StatusCode"] == 0
    start(api, reader)
    end(api, reader)
    for condition in ("", "not-running"):
        assert Waiting(engine, reader, condition).result()["StatusCode"] == 5


def test_next_exit_is_not_the_last_one(engine: Engine, api: Api, reader: str) -> None:
    start(api, reader)
    end(api, reader)
    Waiting(engine, reader, "next-exit").not_yet()
    waiting = Waiting(engine, reader, "next-exit")
    start(api, reader)
    end(api, reader)
    assert waiting.result()["StatusCode"] == 5


def test_removed(engine: Engine, api: Api, reader: str) -> None:
    start(api, reader)
    end(api, reader)
    Waiting(engine, reader, "removed").not_yet()
    waiting = Waiting(engine, reader, "removed")
    api.remove(reader)
    assert waiting.result()["StatusCode"] == 5


def test_removed_by_itself(engine: Engine, api: Api) -> None:
    host = {"NetworkMode": "none", "AutoRemove": True}
    container = api.create(Image="base", Cmd=["sh", "-c", "exit 7"], HostConfig=host)
    waiting = Waiting(engine, container, "removed")
    api.start(container)
    assert waiting.result()["StatusCode"] == 7
    assert api.send("GET", f"/containers/{container}/json").status == 404


def test_paused_is_running(engine: Engine, api: Api, reader: str) -> None:
    start(api, reader)
    api.call("POST", f"/containers/{reader}/pause")
    Waiting(engine, reader, "not-running").not_yet()
    api.call("POST", f"/containers/{reader}/unpause")
    end(api, reader)
