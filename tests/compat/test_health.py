"""Health checks: the same words, codes and events from both engines."""

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.engine import Engine, eventually
from tests.support.http import Api
from tests.support.layertars import layer, member

SECOND = 10**9
QUICK = SECOND // 5
OFTEN = {"Interval": QUICK, "Retries": 2}
FOREVER = ("sleep", "1000000")


@pytest.fixture
def api(engine: Engine) -> Iterator[Api]:
    with engine.api() as connection:
        yield connection


@pytest.fixture
def run(api: Api) -> Iterator[Any]:
    made: list[str] = []

    def begin(test: list[str], image: str = "base", **asked: Any) -> str:
        check: dict[str, Any] = {}
        if test or asked:
            check["Healthcheck"] = {"Test": test, **asked}
        made.append(api.run(*FOREVER, image=image, **check))
        return made[-1]

    yield begin
    for container in made:
        api.send("DELETE", f"/containers/{container}", force="1")


def health(api: Api, container: str) -> Any:
    return api.state(container).get("Health")


def becoming(api: Api, container: str, status: str) -> Any:
    return eventually(lambda: health(api, container), lambda found: found["Status"] == status)


def touch(api: Api, container: str, *command: str) -> None:
    made = api.call("POST", f"/containers/{container}/exec", {"Cmd": list(command)})
    api.call("POST", f"/exec/{made['Id']}/start", {"Detach": True})


def listed(api: Api, **filters: str) -> dict[str, str]:
    """The ids of containers with their `Status`."""
    wanted = json.dumps({name: [value] for name, value in filters.items()})
    return {row["Id"]: row["Status"] for row in api.call("GET", "/containers/json", filters=wanted)}


def test_from_starting_to_unhealthy_to_healthy(engine: Engine, api: Api, run: Any) -> None:
    since = time.time() - 1
    container = run(["CMD-SHELL", "echo looked; test -e /ok"], **OFTEN)
    # A probe that failed shows that the first one need not have been.
    assert becoming(api, container, "unhealthy")["FailingStreak"] >= 2
    assert listed(api, health="unhealthy")[container].endswith(" (unhealthy)")
    touch(api, container, "touch", "/ok")
    found = becoming(api, container, "healthy")
    assert found["FailingStreak"] == 0
    assert found["Log"][-1]["ExitCode"] == 0
    assert found["Log"][-1]["Output"] == "looked\n"
    begun, ended = (datetime.fromisoformat(found["Log"][-1][at]) for at in ("Start", "End"))
    assert begun < ended
    assert container in listed(api, health="healthy")
    filters = quote(json.dumps({"container": [container], "type": ["container"]}))
    path = f"/events?since={since:.9f}&until={time.time():.9f}&filters={filters}"
    told = [json.loads(line)["Action"] for line in api.raw("GET", path).body.splitlines()]
    words = [action for action in told if action.startswith("health_status")]
    assert words == ["health_status: unhealthy", "health_status: healthy"]
    assert "exec_create: /bin/sh -c echo looked; test -e /ok" in told


def test_at_first_it_is_starting(api: Api, run: Any) -> None:
    container = run(["CMD", "true"], Interval=1000 * SECOND)
    assert health(api, container) == {"Status": "starting", "FailingStreak": 0, "Log": []}
    assert listed(api, health="starting")[container].endswith(" (health: starting)")


def test_failures_in_the_start_period_do_not_count(api: Api, run: Any) -> None:
    often = {"Interval": QUICK, "StartInterval": QUICK}  # 20.10 has one interval for all
    container = run(["CMD", "false"], **often, Retries=1, StartPeriod=1000 * SECOND)
    found = eventually(lambda: health(api, container), lambda found: len(found["Log"]) >= 3)
    assert (found["Status"], found["FailingStreak"]) == ("starting", 0)


def test_a_probe_that_takes_too_long(api: Api, run: Any) -> None:
    container = run(["CMD", "sleep", "1000"], Timeout=QUICK, **OFTEN)
    found = becoming(api, container, "unhealthy")
    assert found["Log"][0]["ExitCode"] == -1
    assert found["Log"][0]["Output"].startswith("Health check exceeded timeout (200ms)")


def test_a_probe_that_cannot_be_executed(api: Api, run: Any) -> None:
    container = run(["CMD", "/nowhere"], **OFTEN)
    found = becoming(api, container, "unhealthy")
    assert found["Log"][0]["ExitCode"] == -1
    assert "/nowhere" in found["Log"][0]["Output"]


def test_much_output_is_cut_short(api: Api, run: Any) -> None:
    container = run(["CMD", "seq", "100000"], **OFTEN)
    output = becoming(api, container, "healthy")["Log"][0]["Output"]
    assert output.startswith("1\n2\n3\n")
    assert output.endswith("...")
    assert len(output) == 4096 + 3


@pytest.mark.parametrize("test", [["NONE"], []])
def test_none(api: Api, run: Any, test: list[str]) -> None:
    container = run(test)
    assert health(api, container) is None
    assert container in listed(api, health="none")


def test_what_does_not_run_is_not_healthy(api: Api, run: Any) -> None:
    container = run(["CMD", "true"], **OFTEN)
    becoming(api, container, "healthy")
    api.call("POST", f"/containers/{container}/kill")
    api.wait(container)
    assert health(api, container)["Status"] == "unhealthy"
    api.start(container)
    becoming(api, container, "healthy")


def test_the_images_check(engine: Engine, api: Api, run: Any) -> None:
    dockerfile = b"FROM base\nHEALTHCHECK --interval=200ms --retries=2 CMD test -e /ok\n"
    context = layer([member("Dockerfile", dockerfile)])
    reply = api.raw("POST", "/build?t=checked", context, {"Content-Type": "application/x-tar"})
    assert b"Successfully tagged" in reply.body, reply.body
    try:
        by_image = run([], image="checked")
        without = run(["NONE"], image="checked")
        mixed = run([], image="checked", Retries=1)
        becoming(api, by_image, "unhealthy")
        assert health(api, without) is None
        check = api.inspect(mixed)["Config"]["Healthcheck"]
        assert check == {
            "Test": ["CMD-SHELL", "test -e /ok"],
            "Interval": QUICK,
            "Retries": 1,
        }
        for container in (by_image, without, mixed):
            api.remove(container)
    finally:
        api.send("DELETE", "/images/checked", force="1")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"Interval": 1}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Timeout": -1}, "Timeout in Healthcheck cannot be less than 1ms"),
        ({"StartPeriod": 10}, "StartPeriod in Healthcheck cannot be less than 1ms"),
        ({"Retries": -1}, "Retries in Healthcheck cannot be negative"),
    ],
)
def test_checks_that_cannot_be(api: Api, asked: Any, message: str) -> None:
    body = {"Image": "base", "Cmd": ["true"], "Healthcheck": {"Test": ["CMD", "true"], **asked}}
    reply = api.send("POST", "/containers/create", body)
    assert (reply.status, reply.message) == (400, message)
