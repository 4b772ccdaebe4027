"""What the kernel is sent for networks, and what is read from its answers."""

import ipaddress
import struct
import subprocess
import sys

import pytest

from aiod.native.errors import NativeError
from aiod.native.network import messages, netlink, sysctl


def attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        found[kind & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def test_a_veth_pair_is_born_in_its_place() -> None:
    inner = messages.Inner(7, "eth0", "02:42:ac:11:00:02", 1400)
    request = messages.new_veth("veth1", 5, inner)
    assert request.step == 'make the veth pair "veth1" and "eth0"'
    link = attributes(request.data[32:])
    assert link[3] == b"veth1\0"
    assert link[10] == struct.pack("=I", 5)  # IFLA_MASTER
    peer = attributes(attributes(attributes(link[18])[2])[1][16:])
    assert peer[3] == b"eth0\0"
    assert peer[28] == struct.pack("=I", 7)  # IFLA_NET_NS_FD
    assert peer[1] == bytes.fromhex("0242ac110002")
    assert peer[4] == struct.pack("=I", 1400)


def test_an_ipv6_address_is_in_use_at_once() -> None:
    request = messages.add_address(3, "eth0", ipaddress.ip_interface("fd00::2/64"))
    assert attributes(request.data[24:])[8] == struct.pack("=I", 2)  # IFA_F_NODAD
    assert request.step == 'add the address fd00::2/64 to "eth0"'


def test_a_route_says_where_it_leads_when_it_fails() -> None:
    default = messages.add_route(2, "eth0", ipaddress.ip_network("0.0.0.0/0"), "172.17.0.1")
    assert default.step == "add the route to 0.0.0.0/0 via 172.17.0.1"
    direct = messages.add_route(2, "eth0", ipaddress.ip_network("10.0.0.0/8"), "")
    assert direct.step == 'add the route to 10.0.0.0/8 by "eth0"'


def test_an_answer_is_read_as_it_was_written() -> None:
    address = ipaddress.ip_interface("192.168.7.9/20")
    written = messages.add_address(4, "br0", address).data
    assert messages.read_address(written) == (4, address)
    bridge = messages.read_link(messages.new_bridge("br0", "02:00:00:00:00:01", 1300).data)
    assert (bridge.name, bridge.kind, bridge.mtu) == ("br0", "bridge", 1300)


@pytest.mark.parametrize("key", ["kernel.shmmax", "net..ipv4", "net/../kernel/x", ""])
def test_a_setting_that_is_no_networks_is_refused(key: str) -> None:
    with pytest.raises(NativeError, match="not one of a network namespace"):
        sysctl.path_of(key)


def test_a_setting_may_name_a_link_with_dots() -> None:
    assert sysctl.path_of("net/ipv4/conf/eth0.5/rp_filter").endswith("/eth0.5/rp_filter")
    assert sysctl.path_of("net.ipv4.ip_forward") == "/proc/sys/net/ipv4/ip_forward"


def test_errors_that_mean_done_are_none() -> None:
    request = netlink.Request("try", b"", ignore=(17,))
    assert netlink._error(request, 0, struct.pack("=i", -17)) is None
    refused = netlink._error(request, 0, struct.pack("=i", -1))
    assert str(refused) == "try: operation not permitted"


def test_little_of_pyroute2_is_imported_and_all_of_it_can_be() -> None:
    check = (
        "import sys; from aiod.native.network import messages; "
        "assert 'asyncio' not in sys.modules and 'sqlite3' not in sys.modules; "
        "from pyroute2 import IPRoute; from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg; "
        "from aiod.native.network import wire; assert wire.ifinfmsg is ifinfmsg"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
