"""A container is made with its network, or not at all, by a maker and no daemon."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_interface
from pathlib import Path

import msgspec
import pytest

from aiod.native.network import messages, namespace, sysctl
from aiod.native.network.description import Interface, Route, Sandbox
from aiod.native.network.netlink import Socket
from aiod.shim import protocol
from aiod.tasks.shim_client import SpawnError
from tests.support.containers import extract
from tests.support.engine import eventually
from tests.support.shims import Shims, shims_in

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and mounts")


@pytest.fixture(scope="module")
def lower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
async def shims(scratch: Path, lower: Path) -> AsyncIterator[Shims]:
    with tempfile.TemporaryDirectory(dir=scratch, prefix="n") as base:
        async with shims_in(Path(base), lower) as shims:
            yield shims


@pytest.fixture
def bridge() -> Iterator[str]:
    """A bridge of the host that nothing else is on."""
    name = f"adt{os.getpid()}"
    with Socket() as kernel:
        kernel.commit([messages.new_bridge(name), messages.raise_link(name)])
        try:
            yield name
        finally:
            kernel.commit([messages.delete_link(name)])


def describe(shims: Shims, wanted: Sandbox, *command: str) -> Path:
    directory = shims.describe(*command)
    (directory / protocol.NETWORK_FILE).write_bytes(msgspec.json.encode(wanted))
    return directory


def on(bridge: str) -> Sandbox:
    own = Interface("n", "eth0", parent=bridge, host_name=f"{bridge}v", addresses=("10.9.0.2/24",))
    default = Route("0.0.0.0/0", "10.9.0.1", "eth0")
    return Sandbox((own,), (default,), sysctls={"net.ipv4.conf.eth0.log_martians": "1"})


def links() -> set[str]:
    with Socket() as kernel:
        return {messages.read_link(data).name for data in kernel.dump(messages.list_links())}


def addresses() -> set[str]:
    with Socket() as kernel:
        found = [messages.read_address(data) for data in kernel.dump(messages.list_addresses())]
    return {str(address) for _, address in found}


async def test_its_network_is_there_before_its_first_instruction(shims: Shims, bridge: str) -> None:
    command = "echo carrier $(cat /sys/class/net/eth0/carrier); ip -o -4 addr show; ip route"
    made = await shims.spawn(describe(shims, on(bridge), "sh", "-c", command))
    assert (await made.exit()).exit_code == 0
    output = made.log.read_text()
    for words in ("carrier 1", "10.9.0.2/24", "127.0.0.1/8", "default via 10.9.0.1"):
        assert words in output


async def test_a_settings_name_may_be_that_of_a_link_just_made(shims: Shims, bridge: str) -> None:
    made = await shims.spawn(describe(shims, on(bridge), "sleep", "100000"))
    descriptor = namespace.open_of(made.init.pid)
    path = sysctl.interface_path("ipv4", "eth0", "log_martians")
    assert namespace.inside(descriptor, lambda: sysctl.read(path)) == "1"
    assert str(ip_interface("10.9.0.2/24")) in namespace.inside(descriptor, addresses)
    os.close(descriptor)


async def test_an_empty_description_is_a_loopback(shims: Shims) -> None:
    made = await shims.spawn(describe(shims, Sandbox(), "ip", "-o", "-4", "addr", "show"))
    await made.exit()
    assert "127.0.0.1/8" in made.log.read_text()


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"parent": "nowhere"}, 'find the link "nowhere": no such device'),
        ({"mac": "01:00:00:00:00:01"}, "make the veth pair"),  # of a group, not of a link
        ({"sysctls": {"ipv4/nothing": "1"}}, 'set sysctl "net.ipv4.conf.eth0.nothing" to 1'),
    ],
)
async def test_what_cannot_be_made_is_named_and_leaves_nothing(
    shims: Shims, bridge: str, change: dict[str, object], step: str
) -> None:
    wanted = on(bridge)
    own = msgspec.structs.replace(wanted.interfaces[0], **change)
    directory = describe(shims, Sandbox((own,), wanted.routes), "sleep", "100000")
    with pytest.raises(SpawnError, match=step.replace(".", r"\.")):
        await shims.template.spawn(directory)
    eventually(shims.leftovers, lambda found: not found)
    eventually(links, lambda found: f"{bridge}v" not in found)


async def test_the_end_of_a_container_takes_its_links_along(shims: Shims, bridge: str) -> None:
    made = await shims.spawn(describe(shims, on(bridge), "true"))
    await made.exit()
    eventually(links, lambda found: f"{bridge}v" not in found)
