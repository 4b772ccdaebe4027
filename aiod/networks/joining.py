"""Which wishes of a container's end of a network can be granted: dockerd's checks and words.

Pure; must not know which containers there are, nor which addresses are taken.
"""

import ipaddress
import re
from collections.abc import Sequence

import msgspec

from aiod.errors import ForbiddenError, InvalidParameterError
from aiod.networks import ipam, links, model, options
from aiod.store.models import ContainerConfig, EndpointSettings, HostConfig
from aiod.store.networkrecords import NetworkRecord
from aiod.store.records import ContainerRecord

_MAC = re.compile(r"[0-9a-fA-F]{2}([:-])(?:[0-9a-fA-F]{2}\1){4}[0-9a-fA-F]{2}\Z")
_SYSCTL = re.compile(r"net\.(ipv4|ipv6|mpls)\.[a-z]+\.IFNAME\.[^=./\s]+=[^,]*\Z")
CONTAINER = "container:"
_CONFLICT = "conflicting options: "


HOST_ALONE = "container cannot be disconnected from host network or connected to host network"
NONE_ALONE = (
    "container cannot be connected to multiple networks "
    "with one of the networks in private (none) mode"
)
NOTHING_SHARED = (
    "container sharing network namespace with another container or host "
    "cannot be connected to any other network"
)


def wanted(record: ContainerRecord) -> dict[str, EndpointSettings]:
    """The networks that a new container is to join, by what the client calls them.

    Those of its `EndpointsConfig`, or that of its mode alone; a MAC address that is not said of
    a network is the main one's. Raises InvalidParameterError.
    """
    mode = record.network_mode
    if mode.startswith(CONTAINER):
        said = (record.networking.EndpointsConfig or {}).values()
        if any(settings.MacAddress for settings in said):
            raise _conflict("mac-address and the network mode")
    if mode.startswith(CONTAINER) or record.config.NetworkDisabled is True:
        return {}
    asked = {
        model.DEFAULT if name == "default" else name: settings
        for name, settings in (record.networking.EndpointsConfig or {}).items()
    } or {mode: EndpointSettings()}
    if mode == model.HOST and set(asked) != {mode}:
        raise InvalidParameterError(HOST_ALONE)
    # The network of the mode is the first that is joined.
    ordered = {name: asked[name] for name in sorted(asked, key=lambda name: name != mode)}
    main = next(iter(ordered))
    ordered[main] = _with_mac(ordered[main], record.config.MacAddress or "")
    return ordered


def _with_mac(settings: EndpointSettings, address: str) -> EndpointSettings:
    if not address:
        return settings
    if settings.MacAddress and mac(settings.MacAddress) != mac(address):
        raise InvalidParameterError(
            "the container-wide MAC address must match the endpoint-specific MAC address "
            "for the main network, or be left empty"
        )
    return msgspec.structs.replace(settings, MacAddress=address)


def check_together(names: Sequence[str]) -> None:
    """Raise InvalidParameterError for networks that one container cannot have."""
    if len(set(names)) != len(names):
        raise InvalidParameterError(f"a network is named twice: {', '.join(names)}")
    if len(names) > 1 and model.HOST in names:
        raise InvalidParameterError(HOST_ALONE)
    if len(names) > 1 and model.NONE in names:
        raise InvalidParameterError(NONE_ALONE)


def check_mode(config: ContainerConfig, host: HostConfig) -> None:
    """Raise InvalidParameterError for what the mode of a container's network does not allow."""
    mode = host.NetworkMode
    shared = mode.startswith(CONTAINER)
    if shared and not mode.removeprefix(CONTAINER):
        raise InvalidParameterError(
            "Invalid network mode: invalid container format container:<name|id>"
        )
    if (shared or mode == model.HOST) and config.MacAddress:
        raise _conflict("mac-address and the network mode")
    if (shared or mode == model.HOST) and host.Links:
        kind = "container type network" if shared else "host type networking"
        raise _conflict(f"{kind} can't be used with links. This would result in undefined behavior")
    if shared:
        _check_shared(config, host)
    check_mac(config.MacAddress or "")


def _check_shared(config: ContainerConfig, host: HostConfig) -> None:
    if config.Hostname:
        raise _conflict("hostname and the network mode")
    if host.PortBindings or host.PublishAllPorts:
        raise _conflict("port publishing and the container type network mode")
    if config.ExposedPorts:
        raise _conflict("port exposing and the container type network mode")


def _conflict(what: str) -> InvalidParameterError:
    return InvalidParameterError(_CONFLICT + what)


def check_mac(text: str) -> None:
    """Raise InvalidParameterError for what is no MAC address; empty is none."""
    if not text:
        return
    if not _MAC.match(text):
        raise InvalidParameterError(f"address {text}: invalid MAC address")
    octets = bytes.fromhex(mac(text).replace(":", ""))
    if octets[0] & 1 or not any(octets):
        raise InvalidParameterError(f"address {text}: it is no MAC address of a single host")


def mac(text: str) -> str:
    """An address as the kernel shows it."""
    return text.lower().replace("-", ":")


def check_form(settings: EndpointSettings) -> None:
    """Raise InvalidParameterError for what no network could grant."""
    asked = settings.IPAMConfig
    if asked:
        _check_address("IPv4", 4, asked.IPv4Address)
        _check_address("IPv6", 6, asked.IPv6Address)
        for text in asked.LinkLocalIPs or ():
            if not _is_address(text):
                raise InvalidParameterError(f"Invalid link-local IP address: [{text}]")
    check_mac(settings.MacAddress)
    for text in settings.Links or ():
        links.parse(text)
    opts = settings.DriverOpts or {}
    options.check_link_name(opts.get(model.INTERFACE_NAME, ""))
    for setting in filter(None, opts.get(model.INTERFACE_SYSCTLS, "").split(",")):
        if not _SYSCTL.match(setting.strip()):
            raise InvalidParameterError(
                f"{model.INTERFACE_SYSCTLS}: invalid sysctl {setting!r}: "
                "expected net.FAMILY.GROUP.IFNAME.NAME=VALUE"
            )


def _check_address(family: str, version: int, text: str) -> None:
    if text and not (_is_address(text) and ipaddress.ip_address(text).version == version):
        raise InvalidParameterError(f"invalid {family} address: {text}")


def _is_address(text: str) -> bool:
    try:
        ipam.address(text)
    except ValueError:
        return False
    return True


def check_on(network: NetworkRecord, settings: EndpointSettings) -> None:
    """Refuse what this network does not grant. Raises InvalidParameterError, ForbiddenError."""
    if network.config_only:
        raise ForbiddenError("cannot create endpoint on configuration-only network")
    asked = settings.IPAMConfig
    wanted = [text for text in (asked.IPv4Address, asked.IPv6Address) if text] if asked else []
    if model.is_built_in(network):
        if wanted:
            raise InvalidParameterError(
                "user specified IP address is supported on user defined networks only"
            )
        if settings.Aliases:
            raise InvalidParameterError(
                "network-scoped alias is supported only for containers in user defined networks"
            )
    for text in wanted:
        _check_on(network, text)


def _check_on(network: NetworkRecord, text: str) -> None:
    address = ipaddress.ip_address(text)
    asked = [ipaddress.ip_network(pool.subnet) for pool in network.pools if not pool.chosen]
    of_family = [subnet for subnet in asked if subnet.version == address.version]
    if not of_family:
        raise InvalidParameterError(
            "user specified IP address is supported only "
            "when connecting to networks with user configured subnets"
        )
    if not any(address in subnet for subnet in of_family):
        raise InvalidParameterError(
            f"Invalid address {text}: It does not belong to any of this network's subnets"
        )
