"""Links on the default network: variables, a line of `/etc/hosts`, and who may be linked to."""

from typing import Any

from tests.support.http import Reply
from tests.support.playground import Box, Playground


def hosts(ground: Playground, name: str) -> list[list[str]]:
    said = ground.engine.docker("exec", name, "cat", "/etc/hosts").stdout
    return [line.split() for line in said.splitlines()]


def address_of(box: Box) -> str:
    return next(address for address in box.addresses() if "." in address)


def source(ground: Playground) -> Box:
    exposed: dict[str, Any] = {"80/tcp": {}, "90/udp": {}}
    return ground.run("bridge", ExposedPorts=exposed, Env=["A=b c"], Hostname="of-source")


def test_what_a_link_gives(ground: Playground) -> None:
    target = source(ground)
    linked = ground.run("bridge", host={"Links": [f"{target.name}:my-db", target.name]})
    address = address_of(target)
    assert [address, "my-db", "of-source", target.name] in hosts(ground, linked.name)
    assert [address, target.name, "of-source"] in hosts(ground, linked.name)
    wanted = {
        f"MY_DB_PORT=tcp://{address}:80",
        f"MY_DB_PORT_80_TCP=tcp://{address}:80",
        f"MY_DB_PORT_80_TCP_ADDR={address}",
        "MY_DB_PORT_80_TCP_PORT=80",
        "MY_DB_PORT_80_TCP_PROTO=tcp",
        f"MY_DB_PORT_90_UDP=udp://{address}:90",
        f"MY_DB_PORT_90_UDP_ADDR={address}",
        "MY_DB_PORT_90_UDP_PORT=90",
        "MY_DB_PORT_90_UDP_PROTO=udp",
        f"MY_DB_NAME=/{linked.name}/my-db",
        "MY_DB_ENV_A=b c",
    }
    for command in ("tr '\\0' '\\n' </proc/1/environ", "env"):
        said = ground.engine.docker("exec", linked.name, "sh", "-c", command).stdout
        assert {line for line in said.splitlines() if line.startswith("MY_DB_")} == wanted
    shown = ground.api.inspect(linked.name)["HostConfig"]["Links"]
    assert sorted(shown) == sorted(
        [f"/{target.name}:/{linked.name}/my-db", f"/{target.name}:/{linked.name}/{target.name}"]
    )


def test_a_link_follows_its_target(ground: Playground) -> None:
    target = source(ground)
    linked = ground.run("bridge", host={"Links": [f"{target.name}:store"]})
    ground.end(target.name)
    ground.run("bridge")  # it may get the address that is free now
    target = ground.start(target.name)
    rows = [row for row in hosts(ground, linked.name) if "store" in row]
    assert [address_of(target), "store", "of-source", target.name] in rows


def failed(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.message


def test_who_cannot_be_linked_to(ground: Playground) -> None:
    asked = {"Image": "base", "Cmd": ["true"], "HostConfig": {"Links": ["nosuch:store"]}}
    reply = ground.api.send("POST", "/containers/create", asked)
    assert failed(reply) == (400, "could not get container for nosuch: No such container: nosuch")
    target = ground.create("bridge")
    linked = ground.create("bridge", host={"Links": [f"{target}:store"]})
    reply = ground.api.send("POST", f"/containers/{linked}/start")
    message = f"Cannot link to a non running container: /{target} AS /{linked}/store"
    assert failed(reply) == (500, message)


def test_what_it_links_to_is_gone(ground: Playground) -> None:
    target = ground.create("bridge")
    linked = ground.create("bridge", host={"Links": [f"{target}:store"]})
    ground.api.remove(target)
    reply = ground.api.send("POST", f"/containers/{linked}/start")
    assert reply.status == 500
    assert reply.message.startswith("Cannot link to a non running container: /")
    assert reply.message.endswith(f" AS /{linked}/store")
