"""What `/etc/hosts` and `/etc/resolv.conf` are refused, and what a start does to them."""

from typing import Any

import pytest

from tests.support.engine import Engine
from tests.support.playground import Box, Playground

REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"ExtraHosts": ["bad"]}, 400, 'bad format for add-host: "bad"'),
    ({"ExtraHosts": ["a:1.2.3"]}, 400, 'invalid IP address in add-host: "1.2.3"'),
    ({"NetworkMode": "container:other", "ExtraHosts": ["a:1.2.3.4"]}, 400,
     "conflicting options: custom host-to-IP mapping and the network mode"),
    ({"NetworkMode": "container:other", "Dns": ["1.2.3.4"]}, 400,
     "conflicting options: dns and the network mode"),
    ({"NetworkMode": "host", "Links": ["other"]}, 400,
     "conflicting options: host type networking can't be used with links. "
     "This would result in undefined behavior"),
]  # fmt: skip


@pytest.mark.parametrize(("host", "status", "message"), REFUSED)
def test_refused(engine: Engine, host: dict[str, Any], status: int, message: str) -> None:
    asked = {"Image": "base", "Cmd": ["true"], "HostConfig": host}
    with engine.api() as api:
        reply = api.send("POST", "/containers/create", asked)
    assert (reply.status, reply.message) == (status, message)


def test_a_start_writes_them_anew(engine: Engine) -> None:
    """What somebody has written into them holds until then."""
    files = "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"
    script = f"cat {' '.join(files)}; for f in {' '.join(files)}; do echo '# mine' >> $f; done"
    with engine.api() as api:
        made = api.create("edited", Image="base", Cmd=["sh", "-c", script],
                          HostConfig={"NetworkMode": "none"})  # fmt: skip
        try:
            for _ in range(2):
                api.start(made)
                assert api.wait(made) == 0
            logs = engine.docker("logs", "edited").stdout
            assert "mine" not in logs
            assert logs.count("127.0.0.1\tlocalhost\n") == 2
            assert logs.count(made[:12]) == 2  # its name; in none it has no address to have it
        finally:
            api.remove(made)


def told(ground: Playground, box: Box, file: str) -> list[str]:
    """The lines of a file in a container that runs."""
    said = ground.engine.docker("exec", box.name, "cat", file).stdout
    return [line for line in said.splitlines() if not line.startswith("#")]


def test_a_running_container_comes_to_a_network_and_leaves_it(ground: Playground) -> None:
    """Its addresses come and go; with its first own network it gets a resolver, and keeps it."""
    own, other = ground.network(), ground.network()
    box = ground.run("bridge", Hostname="web", Domainname="example.test")
    assert f"nameserver {ground.neighbour.ip4}" in told(ground, box, "/etc/resolv.conf")
    ground.engine.docker("exec", box.name, "sh", "-c", "echo '192.0.2.9 mine' >>/etc/hosts")
    ground.connect(own, box.name)
    assert "nameserver 127.0.0.11" in told(ground, box, "/etc/resolv.conf")
    first, second = box.ip4("bridge"), box.ip4(own)
    hosts = told(ground, box, "/etc/hosts")
    names = "web.example.test web"
    wanted = [f"{first}\t{names}", "192.0.2.9 mine", f"{second}\t{names}"]
    assert [line for line in hosts if line in wanted] == wanted
    beside = ground.run(own)
    assert box.look_up(beside.name) == [beside.ip4(own)]
    ground.connect(other, box.name)
    ground.disconnect(own, box.name)
    hosts = told(ground, box, "/etc/hosts")
    assert f"{box.ip4(other)}\tweb.example.test web" in hosts
    if ground.engine.name == "aiod":  # dockerd 20.10 leaves it where there is a domain
        assert not [line for line in hosts if line.startswith(second)]
    assert "192.0.2.9 mine" in hosts
    assert box.look_up(beside.name) == []
    assert "nameserver 127.0.0.11" in told(ground, box, "/etc/resolv.conf")


def test_servers_that_somebody_has_written_stay(ground: Playground) -> None:
    if ground.engine.name == "dockerd":
        pytest.skip("20.10 puts its resolver before them; later releases leave the file alone")
    network, box = ground.network(), ground.run("bridge")
    script = "echo 'nameserver 192.0.2.53' >/etc/resolv.conf"
    ground.engine.docker("exec", box.name, "sh", "-c", script)
    ground.connect(network, box.name)
    assert told(ground, box, "/etc/resolv.conf") == ["nameserver 192.0.2.53"]
    beside = ground.run(network)
    assert box.look_up(beside.name) == [beside.ip4(network)]
