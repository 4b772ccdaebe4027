"""Chooses what an end of a network has: addresses, the MAC address, the names of its links.

Owns which addresses are given away, in memory; whoever calls writes it down, or gives it back.
Nothing here waits, so whoever starts next sees what is taken.
"""

import ipaddress
import re
import secrets
from collections.abc import Collection, Iterable

from aiod.networks import model
from aiod.networks.ipam import Addresses
from aiod.store.networkrecords import Assigned, EndpointRecord, NetworkRecord

_DEFAULT_PREFIX = "eth"


class Assigner:
    """The addresses of all networks."""

    def __init__(self) -> None:
        self._addresses: dict[str, Addresses] = {}

    def open(self, network: NetworkRecord) -> None:
        """Take up a network's pools, none of which is in use."""
        self._addresses[network.id] = Addresses(network.pools)

    def close(self, network_id: str) -> None:
        """A network is gone."""
        self._addresses.pop(network_id, None)

    def hold(self, endpoint: EndpointRecord) -> None:
        """An end has had its addresses before."""
        addresses, has = self._addresses.get(endpoint.network_id), endpoint.assigned
        if addresses is not None and has is not None:
            for text in filter(None, (has.ipv4, has.ipv6)):
                addresses.hold(text)

    def hold_address(self, network_id: str, text: str) -> None:
        """An address with its prefix length is somebody's, whoever that is."""
        if network_id in self._addresses:
            self._addresses[network_id].hold(text)

    def give_back(self, network_id: str, assigned: Assigned) -> None:
        """An end's addresses are free again."""
        addresses = self._addresses.get(network_id)
        if addresses is not None:
            for text in filter(None, (assigned.ipv4, assigned.ipv6)):
                addresses.give_back(text)

    def assign(
        self, network: NetworkRecord, endpoint: EndpointRecord, interfaces: Collection[str]
    ) -> Assigned:
        """What this end has from now on; `interfaces` are the container's other links.

        Raises ForbiddenError for an address that is taken, InvalidParameterError for one that
        is not the network's, UnavailableError if there is none left; then nothing is taken.
        """
        if not model.has_addresses(network):
            return Assigned(secrets.token_hex(32))
        ipv4, ipv6 = self._both(network, endpoint)
        return Assigned(
            endpoint_id=secrets.token_hex(32),
            ipv4=ipv4,
            ipv6=ipv6,
            mac=_asked_mac(endpoint) or mac_address(ipv4),
            host_link=f"veth{secrets.token_hex(4)[1:]}" if network.driver == model.BRIDGE else "",
            interface=_interface(network, endpoint, interfaces),
        )

    def _both(self, network: NetworkRecord, endpoint: EndpointRecord) -> tuple[str, str]:
        asked, addresses = endpoint.settings.IPAMConfig, self._addresses[network.id]
        wanted4 = asked.IPv4Address if asked else ""
        wanted6 = asked.IPv6Address if asked else ""
        ipv4 = addresses.take(4, wanted4) if network.enable_ipv4 else ""
        try:
            return ipv4, addresses.take(6, wanted6) if network.enable_ipv6 else ""
        except Exception:
            if ipv4:
                addresses.give_back(ipv4)
            raise


def mac_address(ipv4: str) -> str:
    """An address of local meaning: that of the IPv4 address, as Docker's were, or any."""
    last = ipaddress.ip_interface(ipv4).ip.packed if ipv4 else secrets.token_bytes(4)
    return (b"\x02\x42" + last).hex(":")


def _asked_mac(endpoint: EndpointRecord) -> str:
    return endpoint.settings.MacAddress.lower().replace("-", ":")


def _interface(
    network: NetworkRecord, endpoint: EndpointRecord, interfaces: Collection[str]
) -> str:
    asked = (endpoint.settings.DriverOpts or {}).get(model.INTERFACE_NAME)
    if asked:
        return asked
    prefix = network.options.get(model.PREFIX) or _DEFAULT_PREFIX
    return f"{prefix}{_lowest_free(prefix, interfaces)}"


def _lowest_free(prefix: str, interfaces: Iterable[str]) -> int:
    numbers = {
        int(found[1])
        for name in interfaces
        if (found := re.fullmatch(f"{re.escape(prefix)}([0-9]+)", name))
    }
    return next(number for number in range(len(numbers) + 1) if number not in numbers)
