"""Containers that share namespaces of processes and of IPC, and the init that was asked for."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engine import Engine, eventually
from tests.support.http import Api

FOREVER = ("sleep", "1000000")


@pytest.fixture
def api(engine: Engine) -> Iterator[Api]:
    with engine.api() as connection:
        yield connection


@pytest.fixture
def run(api: Api) -> Iterator[Any]:
    made: list[str] = []

    def begin(*command: str, **host: Any) -> str:
        made.append(api.run(*command, HostConfig=host))
        return made[-1]

    yield begin
    for container in made:
        api.send("DELETE", f"/containers/{container}", force="1")


def said(api: Api, container: str) -> str:
    """What it has said, once it has ended well."""
    assert api.wait(container) == 0, api.logs(container)
    return api.logs(container).decode()


def refused(api: Api, **host: Any) -> tuple[int, str]:
    """Status and message of a create or a start that fails."""
    body = {"Image": "base", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", **host}}
    reply = api.send("POST", "/containers/create", body)
    if reply.status != 201:
        return reply.status, reply.message
    container = reply.json()["Id"]
    try:
        reply = api.send("POST", f"/containers/{container}/start")
        return reply.status, reply.message
    finally:
        api.remove(container)


def test_processes_of_another(api: Api, run: Any) -> None:
    donor = run(*FOREVER)
    guest = run("sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline", PidMode=f"container:{donor}")
    assert said(api, guest) == "sleep 1000000 "
    lasting = run(*FOREVER, PidMode=f"container:{donor}")
    api.call("POST", f"/containers/{lasting}/kill")
    assert api.wait(lasting) == 137
    assert api.state(donor)["Running"]


def test_who_joins_ends_with_the_donor(api: Api, run: Any) -> None:
    donor = run(*FOREVER)
    guest = run(*FOREVER, PidMode=f"container:{donor}")
    api.call("POST", f"/containers/{donor}/kill")
    assert api.wait(guest) == 137


def test_what_it_leaves_in_the_hosts_namespace_is_ended(api: Api, run: Any) -> None:
    container = run("sh", "-c", "sleep 1000000 & echo $!; exit 3", PidMode="host")
    assert api.wait(container) == 3
    left = int(eventually(lambda: api.logs(container), bool))
    eventually(lambda: _is_sleep(left), lambda there: not there)


def _is_sleep(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().startswith(b"sleep\0")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_ipc_of_another(api: Api, run: Any) -> None:
    script = "echo shared > /dev/shm/file; readlink /proc/self/ns/ipc; exec sleep 1000000"
    donor = run("sh", "-c", script, IpcMode="shareable", ShmSize=1 << 20)
    there = eventually(lambda: api.logs(donor), bool).decode()
    script = "cat /dev/shm/file; readlink /proc/self/ns/ipc; df -k /dev/shm | tail -n 1"
    guest = run("sh", "-c", script, IpcMode=f"container:{donor}")
    word, namespace, size = said(api, guest).splitlines()
    assert (word, namespace + "\n") == ("shared", there)
    assert size.split()[1] == "1024"


def test_no_shared_memory(api: Api, run: Any) -> None:
    container = run("sh", "-c", "! grep -q /dev/shm /proc/mounts", IpcMode="none")
    assert said(api, container) == ""


def test_donors_that_cannot_be(api: Api, run: Any) -> None:
    private = run(*FOREVER, IpcMode="private")
    status, message = refused(api, IpcMode=f"container:{private}")
    assert status == 500
    assert "non-shareable IPC (hint: use IpcMode:shareable for the donor container)" in message
    ended = run("true")
    api.wait(ended)
    for mode in ("PidMode", "IpcMode"):
        status, message = refused(api, **{mode: f"container:{ended}"})
        assert (status, "is not running" in message) == (500, True), message
        status, message = refused(api, **{mode: "container:nobody"})
        assert (status, message) == (400, "No such container: nobody")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"PidMode": "other"}, "invalid PID mode: other"),
        ({"PidMode": "container:"}, "invalid PID mode: container:"),
        ({"IpcMode": "other"}, "invalid IPC mode: other"),
        ({"UTSMode": "other"}, "invalid UTS mode: other"),
    ],
)
def test_modes_that_there_are_none_of(aiod: Engine, host: Any, message: str) -> None:
    """dockerd 20.10 takes them for nothing; later ones refuse them."""
    body = {"Image": "base", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", **host}}
    with aiod.api() as api:
        reply = api.send("POST", "/containers/create", body)
    assert (reply.status, message in reply.message) == (400, True), reply.message


def test_a_host_name_in_the_hosts_namespace(api: Api) -> None:
    host = {"NetworkMode": "none", "UTSMode": "host"}
    body = {"Image": "base", "Cmd": ["true"], "Hostname": "own", "HostConfig": host}
    reply = api.send("POST", "/containers/create", body)
    assert (reply.status, reply.message) == (400, "conflicting options: hostname and the UTS mode")


def test_the_init_reaps(api: Api, run: Any) -> None:
    """An orphan of the container becomes the init's, and is no zombie."""
    script = "(sleep 0.1 & echo $! > /orphan); while test -e /proc/$(cat /orphan); do :; done"
    container = run("sh", "-c", script, Init=True)
    assert said(api, container) == ""


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_the_init_has_the_commands_status(api: Api, run: Any, script: str, code: int) -> None:
    assert api.wait(run("sh", "-c", script, Init=True)) == code


def test_the_init_passes_signals_on(api: Api, run: Any) -> None:
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    container = run("sh", "-c", script, Init=True)
    eventually(lambda: api.logs(container), lambda text: text == b"ready\n")
    api.call("POST", f"/containers/{container}/stop", t=20)
    assert api.wait(container) == 5


def test_the_init_of_a_command_that_is_not_there(api: Api, run: Any) -> None:
    container = run("/nowhere", Init=True)
    assert api.wait(container) == 127
    assert b"/nowhere" in api.logs(container)
    assert api.inspect(container)["Path"] == "/nowhere"
