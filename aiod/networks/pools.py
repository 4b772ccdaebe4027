"""From the pools that a client asks for to those that a network has.

Pure; the words are those of dockerd's check of a network's configuration. Every pool of a network
ends up with a gateway, and its addresses are no other network's.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence

import msgspec

from aiod.errors import AiodError, ForbiddenError, InvalidParameterError
from aiod.networks import ipam, model
from aiod.networks.ipam import Network
from aiod.networks.requests import PoolRequest
from aiod.store.networkrecords import PoolRecord

_WRONG = "invalid network config: "


def checked(requests: Iterable[PoolRequest]) -> list[PoolRecord]:
    """The pools asked for. Raises InvalidParameterError for what is no pool."""
    found = []
    for request in requests:
        try:
            found.append(_checked(request))
        except ValueError as error:
            raise InvalidParameterError(f"{_WRONG}{error}") from None
    return found


def _checked(request: PoolRequest) -> PoolRecord:
    subnet = _network("subnet", request.Subnet)
    if request.IPRange:
        _check_range(_network("ip-range", request.IPRange), subnet)
    if request.Gateway:
        _check_within("gateway", request.Gateway, subnet)
    auxiliary = dict(request.AuxiliaryAddresses or {})
    for address in auxiliary.values():
        _check_within("auxiliary address", address, subnet)
    return PoolRecord(str(subnet), request.IPRange, request.Gateway, auxiliary)


def _network(what: str, text: str) -> Network:
    """A block of addresses; one with bits below its prefix is most likely a slip."""
    try:
        if not re.search(r"/[0-9]{1,3}\Z", text) or "%" in text:
            raise ValueError(text)
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"invalid {what} {text}: invalid CIDR block notation") from None
    if str(found.network_address) != str(ipaddress.ip_interface(text).ip):
        raise ValueError(f"invalid {what} {text}: it should be {found}")
    return found


def _check_range(range_: Network, subnet: Network) -> None:
    start = f"invalid ip-range {range_}:"
    if range_.version != subnet.version:
        raise ValueError(f"{start} parent subnet {subnet} is of another family")
    if range_.prefixlen < subnet.prefixlen:
        raise ValueError(f"{start} CIDR block is bigger than its parent subnet {subnet}")
    if not ipam.overlaps(range_, subnet):
        raise ValueError(f"{start} parent subnet {subnet} doesn't contain ip-range")


def _check_within(what: str, text: str, subnet: Network) -> None:
    start = f"invalid {what} {text}:"
    try:
        address = ipam.address(text)
    except ValueError:
        raise ValueError(f"{start} invalid address") from None
    if address.version != subnet.version or address not in subnet:
        raise ValueError(f"{start} parent subnet {subnet} doesn't contain this address")


def settled(
    asked: Sequence[PoolRecord],
    versions: Sequence[int],
    others: Iterable[Network],
    reached: Iterable[Network],
    seed: bytes,
) -> tuple[PoolRecord, ...]:
    """The pools of a network of these families: those asked for, or one chosen for each.

    `others` are other networks' pools, `reached` what the host's routes lead to, which is only
    in the way of what is chosen. Raises AiodError.
    """
    taken = list(others)
    found = []
    for pool in asked:
        subnet = ipaddress.ip_network(pool.subnet)
        if subnet.version in versions:
            ipam.check_free(subnet, taken)
            taken.append(subnet)
            found.append(_with_gateway(pool))
    for version in versions:
        if version not in map(_version, found):
            found.append(chosen(version, [*taken, *reached], seed))
    return tuple(sorted(found, key=_version))


def _version(pool: PoolRecord) -> int:
    return ipaddress.ip_network(pool.subnet).version


def chosen(version: int, taken: Iterable[Network], seed: bytes) -> PoolRecord:
    """A pool that nobody asked for. Raises UnavailableError."""
    pool = PoolRecord(str(ipam.choose_pool(version, seed, taken)), chosen=True)
    return _with_gateway(pool)


def _with_gateway(pool: PoolRecord) -> PoolRecord:
    try:
        if pool.gateway:
            bare = msgspec.structs.replace(pool, gateway="", auxiliary={})
            ipam.Addresses((bare,)).take(_version(pool), pool.gateway)
            if pool.gateway in pool.auxiliary.values():
                raise ForbiddenError(ipam.TAKEN)
            return pool
        return msgspec.structs.replace(pool, gateway=ipam.gateway_of(pool))
    except AiodError as error:
        raise InvalidParameterError(
            f"failed to allocate gateway ({pool.gateway}): {error.message}"
        ) from None


def check_driver(driver: str, pools: Sequence[PoolRecord]) -> None:
    """Raise ForbiddenError for more pools of a family than a driver takes."""
    versions = list(map(_version, pools))
    if driver == model.BRIDGE and len(set(versions)) != len(versions):
        raise ForbiddenError("bridge driver doesn't support multiple subnets")
