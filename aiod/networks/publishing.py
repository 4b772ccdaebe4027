"""Gives the containers that run what they publish, and tells what the rules are to know.

Owns the way from records to the choice of ports and to the table's elements; pure but for the
choice. Must not know nftables, nor how a port is bound.
"""

import ipaddress
from collections.abc import Iterable

from aiod.errors import InternalError
from aiod.native.network.description import Port
from aiod.native.network.ruleset import NetworkRules
from aiod.networks import model
from aiod.networks.portrequests import requested
from aiod.networks.ports import HostPorts, endpoint_failure
from aiod.networks.sandboxes import End, of_gateway
from aiod.store.networkrecords import NetworkRecord
from aiod.store.records import ContainerRecord

_OPEN = "nat-unprotected"


class Publisher:
    """The ports of the host, given to containers."""

    def __init__(self, ports: HostPorts) -> None:
        self._ports = ports
        self.hold, self.give_back = ports.hold, ports.give_back

    def choose(self, record: ContainerRecord, ipv4: End | None, ipv6: End | None) -> list[Port]:
        """The ports that `record` publishes, by way of the ends that have its gateways.

        Raises InternalError in dockerd's words where one is taken, having given nothing.
        """
        end = ipv4 or ipv6
        if end is None:
            return []
        addresses = _address(ipv4, 4), _address(ipv6, 6)
        default = end.network.options.get(model.BINDING, "")
        if default and ipaddress.ip_address(default).is_unspecified:
            default = ""
        try:
            return self._ports.choose(requested(record.config, record.host), addresses, default)
        except InternalError as error:
            raise endpoint_failure(record.name, end.has.endpoint_id, str(error)) from error


def unbound(record: ContainerRecord, ends: Iterable[End], reason: str) -> InternalError:
    """What a start answers that was given ports which the kernel then refused: dockerd's words."""
    ends = tuple(ends)
    end = of_gateway(ends, 4) or of_gateway(ends, 6)
    endpoint = end.has.endpoint_id if end else ""
    return endpoint_failure(record.name, endpoint, f"Error starting userland proxy: {reason}")


def rules_of(network: NetworkRecord) -> NetworkRules | None:
    """What the table is to know of a network; None for one without a bridge of ours."""
    if network.driver != model.BRIDGE or not network.link:
        return None
    subnets = () if network.internal or model.is_off(network, model.MASQUERADE) else network.pools
    return NetworkRules(
        bridge=network.link,
        masqueraded=tuple(pool.subnet for pool in subnets),
        internal=network.internal,
        apart=model.is_off(network, model.ICC),
        open=any(network.options.get(mode) == _OPEN for mode in model.GATEWAY_MODES),
    )


def all_rules(networks: Iterable[NetworkRecord]) -> list[NetworkRules]:
    """What the table is to know of networks."""
    return [rules for network in networks if (rules := rules_of(network)) is not None]


def _address(end: End | None, version: int) -> str:
    return end.address(version).partition("/")[0] if end else ""
