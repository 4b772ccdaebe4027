"""Whose network a container has: its own, the host's, or another container's."""

import contextlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import leaks
from tests.support.binaries import require
from tests.support.daemon import AiodDaemon
from tests.support.engine import Engine, eventually
from tests.support.netns import Namespace
from tests.support.processes import Identity, send

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and mounts")


@pytest.fixture
def machine() -> Iterator[Namespace]:
    """Where every address is free."""
    with Namespace.made() as made:
        yield made


@pytest.fixture
def box(machine: Namespace, new_daemon: AiodDaemon) -> AiodDaemon:
    new_daemon.namespace = machine
    new_daemon.start()
    new_daemon.ensure_base()
    return new_daemon


def run(engine: Engine, *words: str) -> str:
    return engine.docker("run", "--rm", *words).stdout


def inspect(engine: Engine, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(engine.docker("inspect", name).stdout)[0]
    return found


def test_none_has_a_loopback_and_nothing_else(box: AiodDaemon) -> None:
    output = run(box, "--network", "none", "base", "ip", "-o", "addr", "show")
    assert "127.0.0.1/8" in output
    assert "eth0" not in output


def test_a_network_of_its_own_has_what_docker_grants(box: AiodDaemon) -> None:
    places = "/proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range"
    output = run(box, "--network", "none", "base", "sh", "-c", f"cat {places}")
    assert output.split() == ["0", "0", "2147483647"]
    asked = ("--sysctl", "net.ipv4.ip_unprivileged_port_start=1000")
    output = run(box, "--network", "none", *asked, "base", "cat", places.split()[0])
    assert output.split() == ["1000"]


def test_who_joins_a_container_is_the_same_host(box: AiodDaemon) -> None:
    first = ("--name", "first", "--hostname", "here", "--network", "none")
    box.docker("run", "-d", *first, "base", "sleep", "1000")
    command = "hostname; readlink /proc/self/ns/net; cat /etc/hosts; echo mine >> /etc/hosts"
    output = run(box, "--network", "container:first", "base", "sh", "-c", command)
    theirs = box.docker("exec", "first", "sh", "-c", "readlink /proc/self/ns/net; cat /etc/hosts")
    assert output.split("\n")[0] == "here"
    assert theirs.stdout == output.partition("\n")[2] + "mine\n"


def test_who_joins_who_joined_has_the_firsts_names(box: AiodDaemon) -> None:
    box.docker("run", "-d", "--name", "one", "--network", "none", "base", "sleep", "1000")
    box.docker("run", "-d", "--name", "two", "--network", "container:one", "base", "sleep", "1000")
    name = inspect(box, "one")["Id"]
    assert run(box, "--network", "container:two", "base", "hostname").strip() == str(name)[:12]
    assert inspect(box, "two")["HostConfig"]["NetworkMode"] == f"container:{name}"  # type: ignore[index]


def test_a_network_outlives_the_container_that_brought_it(box: AiodDaemon) -> None:
    box.docker("run", "-d", "--name", "one", "--network", "none", "base", "sleep", "1000")
    box.docker("run", "-d", "--name", "two", "--network", "container:one", "base", "sleep", "1000")
    box.docker("rm", "-f", "one")
    assert "127.0.0.1/8" in box.docker("exec", "two", "ip", "addr").stdout


def test_a_network_that_cannot_be_joined_is_told_in_dockers_words(box: AiodDaemon) -> None:
    box.docker("create", "--name", "idle", "--network", "none", "base", "true")
    name = inspect(box, "idle")["Id"]
    for mode, told in (
        ("container:nobody", "No such container: nobody"),
        ("container:idle", f"cannot join network of a non running container: {name}"),
        ("container:self", "cannot join own network"),
    ):
        box.docker("create", "--name", "self", "--network", mode, "base", "true")
        failed = box.docker("start", "self", check=False)
        assert failed.returncode != 0
        assert told in failed.stderr
        state = inspect(box, "self")["State"]
        assert (state["Status"], state["ExitCode"], state["Error"]) == ("created", 128, told)  # type: ignore[index]
        box.docker("rm", "self")


def test_a_daemons_start_starts_first_whose_network_another_has(box: AiodDaemon) -> None:
    policy = ("-d", "--restart", "always")
    box.docker("run", *policy, "--name", "owner", "--network", "none", "base", "sleep", "1000")
    for number in range(4):
        mode = f"container:{'owner' if number == 0 else f'guest{number - 1}'}"
        name = f"guest{number}"
        box.docker("run", *policy, "--name", name, "--network", mode, "base", "sleep", "1000")
    box.sigkill()
    for pid in box.processes():  # as a reboot does
        with contextlib.suppress(ProcessLookupError):
            send(Identity.of(pid))
    eventually(box.processes, lambda found: not found)
    box.restart()
    names = ["owner", *(f"guest{number}" for number in range(4))]
    running = ("ps", "--filter", "status=running", "--format", "{{.Names}}")
    eventually(
        lambda: box.docker(*running).stdout.split(),
        lambda found: sorted(found) == sorted(names),
    )
    places = {box.docker("exec", name, "readlink", "/proc/self/ns/net").stdout for name in names}
    assert len(places) == 1


def _join_while_it_ends(engine: AiodDaemon, seconds: str) -> list[int]:
    """The statuses of a container's life, which ends somewhere in its middle."""
    with engine.api() as api:
        config = {"Image": "base", "Cmd": ["sleep", seconds], "HostConfig": {"NetworkMode": "near"}}
        made = api.call("POST", "/containers/create", config)["Id"]
        calls = [f"/containers/{made}/start"]
        calls += [f"/networks/far/{verb}" for verb in ("connect", "disconnect") * 2]
        statuses = [api.send("POST", path, {"Container": made}).status for path in calls]
        return [*statuses, api.send("DELETE", f"/containers/{made}", None, force=1).status]


def test_who_ends_while_it_joins_networks_keeps_no_address(box: AiodDaemon) -> None:
    for number, name in enumerate(("near", "far")):
        box.docker("network", "create", "--subnet", f"10.97.{number}.0/28", name)
    ages = ["0", "0.02", "0.04", "0.06", "0.08", "100"] * 4
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda age: _join_while_it_ends(box, age), ages))
    assert {tuple(statuses) for statuses in found} == {(204, 200, 200, 200, 200, 204)}
    for name in ("near", "far"):
        box.docker("create", "--name", f"last-{name}", "--network", name, "base", "true")
        for _ in range(13):  # all that a network of 16 has
            box.docker("run", "-d", "--network", name, "base", "sleep", "1000")
        told = box.docker("start", f"last-{name}", check=False).stderr
        assert "no available IPv4 addresses" in told
    box.remove_containers()
    box.docker("network", "rm", "near", "far")
    leaks.assert_none(box)


class Unprivileged(AiodDaemon):
    """A daemon that may not touch networks (capabilities(7), CAP_NET_ADMIN)."""

    def command(self) -> list[str]:
        drop = ("--bounding-set=-net_admin", "--inh-caps=-net_admin")
        return [require("setpriv"), *drop, *super().command()]


@pytest.fixture
def unprivileged(scratch: Path) -> Iterator[Unprivileged]:
    daemon = Unprivileged(scratch / "unprivileged")
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.destroy()


def test_without_privileges_the_step_that_failed_is_named(unprivileged: Unprivileged) -> None:
    for arguments in (("run", "--rm", "base", "true"), ("network", "create", "mine")):
        failed = unprivileged.docker(*arguments, check=False)
        assert failed.returncode != 0
        assert "nftables" in failed.stderr
        assert "operation not permitted" in failed.stderr.lower()
    assert "mine" not in unprivileged.docker("network", "ls").stdout
    assert run(unprivileged, "--network", "host", "base", "echo", "goes").strip() == "goes"
    leaks.assert_none(unprivileged)


def test_who_joins_a_container_has_no_link_of_its_own(box: AiodDaemon) -> None:
    asked = ("--network", "container:other", "--mac-address", "02:00:00:00:00:01")
    failed = box.docker("create", *asked, "base", "true", check=False)
    assert "conflicting options: mac-address and the network mode" in failed.stderr
