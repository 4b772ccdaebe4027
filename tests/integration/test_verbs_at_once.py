"""Verbs on one container at the same time: each is whole, and none waits for ever."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemon import AiodDaemon
from tests.support.engine import Engine, eventually
from tests.support.http import Api, UnixConnection

DEAF = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"]
QUIET = ["sleep", "1000"]
FAILING = ["sh", "-c", "exit 1"]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


def status(engine: Engine, method: str, path: str) -> int:
    with engine.api() as api:
        return api.send(method, path).status


def both(
    pool: ThreadPoolExecutor, one: Callable[[], int], other: Callable[[], int]
) -> tuple[int, int]:
    """Two calls as nearly at once as threads can."""
    barrier = threading.Barrier(2)

    def run(call: Callable[[], int]) -> int:
        barrier.wait()
        return call()

    first, second = pool.submit(run, one), pool.submit(run, other)
    return first.result(60), second.result(60)


@contextmanager
def stopping(aiod: Engine, pool: ThreadPoolExecutor, api: Api) -> Iterator[tuple[str, Future[int]]]:
    """A container that does not mind SIGTERM, and a stop that would wait ten minutes for it."""
    container = api.run(*DEAF)
    eventually(lambda: api.logs(container), bool)
    stop = pool.submit(status, aiod, "POST", f"/containers/{container}/stop?t=600")
    path = f"/events?since=0&until={time.time() + 3600:.0f}"
    connection = UnixConnection(aiod.socket, 60)
    connection.request("GET", path + f'&filters={{"container":["{container}"],"event":["kill"]}}')
    connection.getresponse().readline()
    connection.close()
    yield container, stop


@contextmanager
def waiting(aiod: Engine, container: str, condition: str) -> Iterator[http.client.HTTPResponse]:
    """A wait that is registered: its header has come."""
    connection = UnixConnection(aiod.socket, 60)
    connection.request("POST", f"/containers/{container}/wait?condition={condition}")
    yield connection.getresponse()
    connection.close()


def test_start_and_removal(aiod: Engine, pool: ThreadPoolExecutor) -> None:
    """Without force either it is gone and was never running, or it runs and stays."""
    with aiod.api() as api:
        for _ in range(20):
            container = api.create(Image="base", Cmd=QUIET)
            started, removed = both(
                pool,
                lambda: status(aiod, "POST", f"/containers/{container}/start"),  # noqa: B023
                lambda: status(aiod, "DELETE", f"/containers/{container}"),  # noqa: B023
            )
            assert (started, removed) in {(204, 409), (404, 204), (409, 204)}
            if started == 204:
                assert api.state(container)["Status"] == "running"
                api.remove(container)


def test_start_and_removal_by_force(aiod: Engine, pool: ThreadPoolExecutor) -> None:
    with aiod.api() as api:
        for _ in range(20):
            container = api.create(Image="base", Cmd=QUIET)
            started, removed = both(
                pool,
                lambda: status(aiod, "POST", f"/containers/{container}/start"),  # noqa: B023
                lambda: status(aiod, "DELETE", f"/containers/{container}?force=1"),  # noqa: B023
            )
            assert started in (204, 404, 409)
            assert removed == 204
            assert api.send("GET", f"/containers/{container}/json").status == 404
        assert isinstance(aiod, AiodDaemon)
        eventually(lambda: list(aiod.paths.shims.iterdir()), lambda left: not left)


def test_start_and_kill(aiod: Engine, pool: ThreadPoolExecutor) -> None:
    """The kill either comes before the start, or ends what was started."""
    with aiod.api() as api:
        for _ in range(20):
            container = api.create(Image="base", Cmd=QUIET)
            started, killed = both(
                pool,
                lambda: status(aiod, "POST", f"/containers/{container}/start"),  # noqa: B023
                lambda: status(aiod, "POST", f"/containers/{container}/kill"),  # noqa: B023
            )
            assert started == 204
            assert killed in (204, 409)
            expected = "exited" if killed == 204 else "running"
            eventually(lambda: api.state(container)["Status"], lambda now: now == expected)  # noqa: B023
            api.remove(container)


def test_many_starts(aiod: Engine, pool: ThreadPoolExecutor) -> None:
    """One starts it, the others find it running."""
    with aiod.api() as api:
        container = api.create(Image="base", Cmd=QUIET)
        path = f"/containers/{container}/start"
        calls = [pool.submit(status, aiod, "POST", path) for _ in range(8)]
        assert sorted(call.result(60) for call in calls) == [204, *[304] * 7]
        api.remove(container)


def test_it_ends_before_the_start_is_answered(aiod: Engine) -> None:
    """Its exit is neither lost nor taken for that of another run."""
    with aiod.api() as api:
        for code in range(20):
            container = api.create(Image="base", Cmd=["sh", "-c", f"exit {code}"])
            with waiting(aiod, container, "next-exit") as answer:
                api.start(container)
                assert json.loads(answer.read())["StatusCode"] == code
            state = api.state(container)
            assert (state["Status"], state["ExitCode"]) == ("exited", code)
            api.remove(container)


def test_removal_by_force_ends_a_stop(aiod: Engine, pool: ThreadPoolExecutor) -> None:
    with aiod.api() as api, stopping(aiod, pool, api) as (container, stop):
        assert api.send("DELETE", f"/containers/{container}?force=1").status == 204
        assert stop.result(30) == 204


def test_removal_by_force_ends_every_verb_that_waits(
    aiod: Engine, pool: ThreadPoolExecutor
) -> None:
    """Each of them would wait ten minutes, and the restarts would make it run again."""
    with aiod.api() as api, stopping(aiod, pool, api) as (container, stop):
        path = f"/containers/{container}/restart?t=600"
        queued = [pool.submit(status, aiod, "POST", path) for _ in range(5)]
        assert api.send("DELETE", f"/containers/{container}", force="1").status == 204
        assert stop.result(30) in (204, 304)
        assert {restart.result(30) for restart in queued} <= {404, 409}


def test_kill_ends_a_stop(aiod: Engine, pool: ThreadPoolExecutor) -> None:
    with aiod.api() as api, stopping(aiod, pool, api) as (container, stop):
        assert api.send("POST", f"/containers/{container}/kill").status == 204
        assert stop.result(30) == 204
        assert api.state(container)["ExitCode"] == 137
        api.remove(container)


def test_stop_while_it_restarts(aiod: Engine) -> None:
    """Whatever the moment, once a stop was answered it does not come back."""
    host = {"RestartPolicy": {"Name": "always"}}
    with aiod.api() as api:
        for number in range(8):
            container = api.run(*FAILING, HostConfig=host)
            eventually(lambda: api.inspect(container)["RestartCount"], lambda n: n >= number % 3)  # noqa: B023
            assert api.send("POST", f"/containers/{container}/stop").status in (204, 304)
            count = api.inspect(container)["RestartCount"]
            assert api.state(container)["Status"] == "exited"
            api.call("POST", f"/containers/{container}/rename", name=f"still-{container[:12]}")
            assert api.inspect(container)["RestartCount"] == count
            api.remove(container)


def test_start_while_it_waits_for_its_next_start(aiod: Engine) -> None:
    """It counts as running, which it does for dockerd; no wait is cut short."""
    with aiod.api() as api:
        container = api.run(*FAILING, HostConfig={"RestartPolicy": {"Name": "always"}})
        eventually(lambda: api.inspect(container)["RestartCount"], lambda count: count >= 4)
        eventually(lambda: api.state(container)["Status"], lambda now: now == "restarting")
        assert api.send("POST", f"/containers/{container}/start").status == 304
        assert api.inspect(container)["RestartCount"] >= 4
        api.remove(container)


@pytest.mark.parametrize("condition", ["not-running", "next-exit", "removed"])
def test_waits_end_with_the_removal(aiod: Engine, condition: str) -> None:
    with aiod.api() as api:
        container = api.run(*QUIET)
        with waiting(aiod, container, condition) as answer:
            api.remove(container)
            assert json.loads(answer.read())["StatusCode"] == 137


def test_wait_for_a_container_with_a_policy(aiod: Engine, tmp_path: Path) -> None:
    """It ends with the first exit, though the container runs again; as dockerd's does."""
    script = (
        "mkdir /first || { until [ -e /gate/second ]; do sleep 0.05; done; exit 8; }; "
        "until [ -e /gate/first ]; do sleep 0.05; done; exit 9"
    )
    policy = {"Name": "on-failure", "MaximumRetryCount": 1}
    with aiod.api() as api:
        host = {"RestartPolicy": policy, "Binds": [f"{tmp_path}:/gate:ro"]}
        container = api.run("sh", "-c", script, HostConfig=host)
        with waiting(aiod, container, "not-running") as answer:
            (tmp_path / "first").touch()
            assert json.loads(answer.read())["StatusCode"] == 9
        (tmp_path / "second").touch()
        eventually(lambda: api.state(container)["Status"], lambda now: now == "exited")
        assert api.inspect(container)["RestartCount"] == 1
        assert api.state(container)["ExitCode"] == 8
        api.remove(container)


def test_a_client_that_hangs_up_interrupts_no_start(aiod: Engine) -> None:
    with aiod.api() as api:
        for _ in range(10):
            container = api.create(Image="base", Cmd=QUIET)
            connection = UnixConnection(aiod.socket, 60)
            connection.request("POST", f"/containers/{container}/start")
            connection.close()
            eventually(lambda: api.state(container)["Status"], lambda now: now == "running")  # noqa: B023
            assert api.send("POST", f"/containers/{container}/kill").status == 204
            api.remove(container)


def test_a_client_that_hangs_up_interrupts_no_stop(aiod: Engine) -> None:
    with aiod.api() as api:
        container = api.run(*DEAF)
        eventually(lambda: api.logs(container), bool)
        connection = UnixConnection(aiod.socket, 60)
        connection.request("POST", f"/containers/{container}/stop?t=1")
        connection.close()
        assert api.wait(container) == 137
        api.remove(container)


def test_the_daemon_ends_while_starts_are_under_way(
    daemon: AiodDaemon, pool: ThreadPoolExecutor
) -> None:
    """Each was completed or undone, and no call is left without an end."""
    with daemon.api() as api:
        made = [api.create(Image="base", Cmd=QUIET) for _ in range(8)]

    def start(container: str) -> int:
        try:
            return status(daemon, "POST", f"/containers/{container}/start")
        except (OSError, http.client.HTTPException):
            return 0

    calls = [pool.submit(start, container) for container in made]
    calls[0].result(60)
    assert daemon.stop() == 0
    answers = [call.result(60) for call in calls]
    daemon.restart()
    with daemon.api() as api:
        for container, answer in zip(made, answers, strict=True):
            found = api.state(container)
            assert found["Status"] in (("running",) if answer == 204 else ("running", "created"))
            api.start(container) if found["Status"] == "created" else None
            api.remove(container)
    eventually(lambda: list(daemon.paths.shims.iterdir()), lambda left: not left)


def test_a_failed_start_ends_the_streams_that_waited_for_it(aiod: Engine) -> None:
    with aiod.api() as api:
        container = api.create(Image="base", Cmd=["no-such"], AttachStdout=True)
        connection = UnixConnection(aiod.socket, 60)
        connection.request("POST", f"/containers/{container}/attach?stream=1&stdout=1")
        answer = connection.getresponse()
        assert api.send("POST", f"/containers/{container}/start").status == 400
        assert answer.read() == b""
        connection.close()
        api.remove(container)
