"""From what a client asks a network to be to its record: dockerd's checks, in its order and words.

Pure; must not know how a network is made.
"""

import ipaddress
import secrets
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

from aiod.errors import (
    ConflictError,
    ForbiddenError,
    InvalidParameterError,
    NotFoundError,
    UnavailableError,
)
from aiod.networks import model, options, pools
from aiod.networks.ipam import Network
from aiod.networks.requests import NetworkRequest
from aiod.store.networkrecords import NetworkRecord

_NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
    "to connect this node to swarm and try again."
)
_ALWAYS_THERE = (*model.BUILT_IN, "default")
_CONFIG_ONLY = (
    "configuration network can only contain network specific fields. "
    "Network operator fields like [ ingress | internal | attachable | scope ] are not supported."
)
IGNORED = "IPv6 pools are ignored: EnableIPv6 is false"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a new network is made beside: others, what the host reaches, and the engine's seed."""

    networks: Sequence[NetworkRecord]
    reached: Collection[Network]
    seed: bytes

    def named(self, name: str) -> NetworkRecord | None:
        """The network of that very name."""
        return next((one for one in self.networks if one.name == name), None)


def check(request: NetworkRequest, around: Surroundings) -> None:
    """Refuse what cannot be made, whatever its addresses. Raises AiodError."""
    if not request.Name.strip() or any(unicodedata.category(c) == "Cc" for c in request.Name):
        raise InvalidParameterError(f"invalid name: {request.Name!r}")
    if request.Name in _ALWAYS_THERE:
        raise ForbiddenError(f"operation is not permitted on predefined {request.Name} network ")
    if around.named(request.Name):
        raise ConflictError(f"network with name {request.Name} already exists")
    if request.Scope not in ("", "local"):
        raise ForbiddenError("cannot create a swarm scoped network when swarm is not active")
    if request.Ingress:
        raise ForbiddenError("Ingress network can only be global scope network")
    _check_driver(request)
    _check_lending(request)


def _check_driver(request: NetworkRequest) -> None:
    driver, ipam = request.Driver or model.BRIDGE, request.IPAM.Driver
    if driver == "overlay":
        raise UnavailableError(_NO_SWARM)
    if driver not in model.DRIVERS:
        raise NotFoundError(f'plugin "{driver}" not found')
    if driver in (model.HOST, model.NULL) and not request.ConfigOnly:
        raise ForbiddenError(f'only one instance of "{driver}" network is allowed')
    if ipam == model.NULL:
        raise InvalidParameterError("ipv4 pool is empty")
    if ipam not in ("", "default"):
        raise NotFoundError(f'plugin "{ipam}" not found')


def _check_lending(request: NetworkRequest) -> None:
    if request.ConfigOnly:
        if request.ConfigFrom.Network:
            raise ForbiddenError(
                "a configuration network cannot depend on another configuration network"
            )
        if request.Internal or request.Attachable:
            raise ForbiddenError(_CONFIG_ONLY)
    if not request.ConfigFrom.Network:
        return
    if request.Options:
        raise ForbiddenError(
            "network driver options are not supported "
            "if the network depends on a configuration network"
        )
    if request.IPAM.Config:
        raise ForbiddenError(
            "user specified configurations are not supported "
            "if the network depends on a configuration network"
        )


def record(request: NetworkRequest, around: Surroundings, now_ns: int) -> NetworkRecord:
    """What is to be made of a request that passed `check`. Raises AiodError."""
    bare = _lent(_bare(request, now_ns), request, around)
    asked = list(bare.pools)
    if bare.config_only:
        return bare
    options.check(bare.driver, bare.options)
    pools.check_driver(bare.driver, asked)
    others = [
        subnet for one in around.networks if not one.config_only for subnet in model.subnets(one)
    ]
    settled = pools.settled(asked, _versions(bare), others, around.reached, around.seed)
    found = msgspec.structs.replace(bare, pools=settled, link=_link(bare))
    _check_link(found, around)
    return found


def _bare(request: NetworkRequest, now_ns: int) -> NetworkRecord:
    driver = model.NULL if request.ConfigOnly else request.Driver or model.BRIDGE
    return NetworkRecord(
        id=secrets.token_hex(32),
        name=request.Name,
        created_ns=now_ns,
        driver=driver,
        pools=tuple(pools.checked(request.IPAM.Config or ())),
        enable_ipv4=request.EnableIPv4 is not False,
        enable_ipv6=bool(request.EnableIPv6),
        internal=request.Internal,
        attachable=request.Attachable,
        config_only=request.ConfigOnly,
        config_from=request.ConfigFrom.Network,
        ipam_options=request.IPAM.Options,
        options=dict(request.Options or {}),
        labels=dict(request.Labels or {}),
    )


def _lent(bare: NetworkRecord, request: NetworkRequest, around: Surroundings) -> NetworkRecord:
    """With what another network lends it. Raises NotFoundError."""
    if not bare.config_from:
        return bare
    lender = around.named(bare.config_from)
    if lender is None or not lender.config_only:
        raise NotFoundError(f'configuration network "{bare.config_from}" does not exist')
    return msgspec.structs.replace(
        bare,
        pools=lender.pools,
        enable_ipv4=lender.enable_ipv4 if request.EnableIPv4 is None else bare.enable_ipv4,
        enable_ipv6=lender.enable_ipv6 if request.EnableIPv6 is None else bare.enable_ipv6,
        ipam_options=lender.ipam_options,
        options=lender.options,
        labels={**lender.labels, **bare.labels},
    )


def _versions(network: NetworkRecord) -> list[int]:
    enabled = {4: network.enable_ipv4, 6: network.enable_ipv6}
    versions = [version for version, wanted in enabled.items() if wanted]
    if not versions:
        raise InvalidParameterError("IPv4 or IPv6 must be enabled")
    return versions


def _link(network: NetworkRecord) -> str:
    """The name of its bridge, or of the parent of its links."""
    short = network.id[:12]
    if network.driver == model.BRIDGE:
        return network.options.get(model.LINK_NAME) or f"br-{short}"
    return network.options.get(model.PARENT) or f"dm-{short}"


def _check_link(network: NetworkRecord, around: Surroundings) -> None:
    """A bridge is one network's, and a parent is one that can be found or made."""
    if network.driver == model.BRIDGE:
        for other in around.networks:
            if other.driver == model.BRIDGE and other.link == network.link:
                raise ForbiddenError(
                    f"cannot create network {network.id} ({network.link}): conflicts with "
                    f"network {other.id} ({other.link}): networks have same bridge name"
                )
        return
    options.check_link_name(network.link)


def warning(request: NetworkRequest) -> str:
    """What of a request is not granted although the network is made; empty for nothing."""
    if request.EnableIPv6 or request.ConfigOnly:
        return ""
    asked = [ipaddress.ip_network(one.Subnet).version for one in request.IPAM.Config or ()]
    return IGNORED if 6 in asked else ""
