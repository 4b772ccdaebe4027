"""What is said of networks everywhere: the built-in ones, drivers, and options by their names.

Functions of records; must not know who is on a network.
"""

import hashlib
import ipaddress
import socket

from aiod.networks.ipam import Network
from aiod.store.networkrecords import NetworkRecord

DEFAULT, HOST, NONE = "bridge", "host", "none"
BRIDGE, MACVLAN, IPVLAN, NULL = "bridge", "macvlan", "ipvlan", "null"
BUILT_IN = {DEFAULT: BRIDGE, HOST: HOST, NONE: NULL}
DRIVERS = (BRIDGE, HOST, IPVLAN, MACVLAN, NULL)

LINK_NAME = "com.docker.network.bridge.name"
DEFAULT_BRIDGE = "com.docker.network.bridge.default_bridge"
ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
BINDING = "com.docker.network.bridge.host_binding_ipv4"
GATEWAY_MODES = (
    "com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv6",
)  # fmt: skip
MTU = "com.docker.network.driver.mtu"
PREFIX = "com.docker.network.container_iface_prefix"
INTERFACE_NAME = "com.docker.network.endpoint.ifname"
INTERFACE_SYSCTLS = "com.docker.network.endpoint.sysctls"
PARENT, MACVLAN_MODE, IPVLAN_MODE = "parent", "macvlan_mode", "ipvlan_mode"

_DEFAULT_MTU = "1500"
_FALSE = ("false", "False", "FALSE", "f", "F", "0")


def built_in_id(engine_id: str, name: str) -> str:
    """The id of a built-in network: the same for one engine for ever."""
    return hashlib.sha256(f"{engine_id}/{name}".encode()).hexdigest()


def built_in(engine_id: str, name: str, link: str, created_ns: int) -> NetworkRecord:
    """The first record of a built-in network; the bridge's pools are chosen at first need."""
    bridge = name == DEFAULT
    options = {
        DEFAULT_BRIDGE: "true", ICC: "true", MASQUERADE: "true", BINDING: "0.0.0.0",
        LINK_NAME: link, MTU: _DEFAULT_MTU,
    }  # fmt: skip
    return NetworkRecord(
        id=built_in_id(engine_id, name),
        name=name,
        created_ns=created_ns,
        driver=BUILT_IN[name],
        link=link if bridge else "",
        enable_ipv4=bridge,
        options=options if bridge else {},
    )


def is_built_in(network: NetworkRecord) -> bool:
    """Whether it is there always; nobody else may have its name."""
    return network.name in BUILT_IN


def has_addresses(network: NetworkRecord) -> bool:
    """Whether ends of it have links and addresses."""
    return network.driver in (BRIDGE, MACVLAN, IPVLAN)


def link_exists(network: NetworkRecord) -> bool:
    """Whether the host has its link."""
    try:
        return bool(network.link and socket.if_nametoindex(network.link))
    except OSError:
        return False


def subnets(network: NetworkRecord) -> list[Network]:
    """Its pools' networks."""
    return [ipaddress.ip_network(pool.subnet) for pool in network.pools]


def is_off(network: NetworkRecord, option: str) -> bool:
    """Whether an option that is on by default was turned off, in one of Go's words for that."""
    return network.options.get(option) in _FALSE


def mtu(network: NetworkRecord) -> int:
    """Of its links; 0 for the kernel's choice."""
    return int(network.options.get(MTU) or 0)


def gateway(network: NetworkRecord, address: str) -> str:
    """Where an end with that address (with its prefix length) sends what is for elsewhere.

    Empty for none: an internal network leads nowhere.
    """
    if not address or network.internal:
        return ""
    ip = ipaddress.ip_interface(address).ip
    for pool in network.pools:
        subnet = ipaddress.ip_network(pool.subnet)
        if ip.version == subnet.version and ip in subnet:
            return pool.gateway
    return ""
