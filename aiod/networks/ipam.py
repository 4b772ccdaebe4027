"""Which pools networks have, and which addresses of them are given away.

Pure, and in memory: whoever decides here writes it down. An address that was given back is not
given again before the others of its pool have had their turn: neighbours may still send to it.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from aiod.errors import ForbiddenError, InvalidParameterError, UnavailableError
from aiod.store.networkrecords import PoolRecord

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_DEFAULTS = (
    *((f"172.{number}.0.0/16", 16) for number in range(17, 32)),
    ("192.168.0.0/16", 20),
)  # Docker's (libnetwork, ipamutils): a part of each, so long
_POINT_TO_POINT = {4: 31, 6: 127}  # RFC 3021, RFC 6164: every address is a host's

OVERLAP = "Pool overlaps with other one on this address space"
TAKEN = "Address already in use"


def address(text: str) -> Address:
    """An address that is the same on every link. Raises ValueError."""
    if "%" in text:
        raise ValueError(f"{text!r} has a zone")
    return ipaddress.ip_address(text)


def default_pools(version: int, seed: bytes) -> Iterator[Network]:
    """Pools to choose from, the first first; those of IPv6 are this engine's own (RFC 4193)."""
    if version == 4:
        for text, length in _DEFAULTS:
            yield from ipaddress.ip_network(text).subnets(new_prefix=length)
        return
    own = int.from_bytes(b"\xfd" + seed[:5].ljust(5, b"\0")) << 80
    yield from ipaddress.IPv6Network((own, 48)).subnets(new_prefix=64)


def choose_pool(version: int, seed: bytes, taken: Iterable[Network]) -> Network:
    """The first default pool that overlaps with none of `taken`. Raises UnavailableError."""
    others = [network for network in taken if network.version == version]
    for pool in default_pools(version, seed):
        if not any(overlaps(pool, other) for other in others):
            return pool
    raise UnavailableError(
        f"could not find an available, non-overlapping IPv{version} address pool "
        "among the defaults to assign to the network"
    )


def overlaps(one: Network, other: Network) -> bool:
    """Whether they share an address."""
    return (
        one.version == other.version
        and int(one.network_address) <= int(other.broadcast_address)
        and int(other.network_address) <= int(one.broadcast_address)
    )


def check_free(pool: Network, taken: Iterable[Network]) -> None:
    """Raise ForbiddenError where a pool overlaps with another network's."""
    if any(overlaps(pool, other) for other in taken):
        raise ForbiddenError(OVERLAP)


@dataclass(slots=True)
class _Pool:
    """One pool: `first` to `last` are given away, from `cursor` on."""

    subnet: Network
    first: int
    last: int
    cursor: int

    @classmethod
    def of(cls, record: PoolRecord) -> "_Pool":
        subnet = ipaddress.ip_network(record.subnet)
        range_ = ipaddress.ip_network(record.ip_range) if record.ip_range else subnet
        low, high = _bounds(subnet)
        first = max(low, int(range_.network_address))
        return cls(subnet, first, min(high, int(range_.broadcast_address)), first)

    def next_free(self, taken: set[int]) -> int | None:
        """The next that is free, from where the last was found; all are looked at once."""
        size = self.last - self.first + 1
        for step in range(min(size, len(taken) + 1)):
            number = self.first + (self.cursor - self.first + step) % size
            if number not in taken:
                self.cursor = number + 1
                return number
        return None


def _bounds(subnet: Network) -> tuple[int, int]:
    """The first and last that a host may have."""
    low, high = int(subnet.network_address), int(subnet.broadcast_address)
    if subnet.prefixlen >= _POINT_TO_POINT[subnet.version]:
        return low, high
    return low + 1, high - (1 if subnet.version == 4 else 0)


class Addresses:
    """The addresses of one network, of both families."""

    def __init__(self, pools: Iterable[PoolRecord]) -> None:
        self._pools: list[_Pool] = []
        self._taken: dict[int, set[int]] = {4: set(), 6: set()}
        for record in pools:
            self._pools.append(_Pool.of(record))
            for text in (record.gateway, *record.auxiliary.values()):
                if text:
                    self._mark(ipaddress.ip_address(text))

    def take(self, version: int, wanted: str = "") -> str:
        """An address with its prefix length: `wanted`, or the next that is free.

        Raises ForbiddenError if it is taken, InvalidParameterError if it is in no pool,
        UnavailableError if there is none left.
        """
        if wanted:
            return self._take_this(ipaddress.ip_address(wanted))
        taken = self._taken[version]
        for pool in self._pools:
            if pool.subnet.version != version:
                continue
            number = pool.next_free(taken)
            if number is not None:
                taken.add(number)
                return _text(number, pool.subnet)
        raise UnavailableError(
            f"no available IPv{version} addresses on this network's address pools"
        )

    def _take_this(self, address: Address) -> str:
        for pool in self._pools:
            if address.version != pool.subnet.version or address not in pool.subnet:
                continue
            low, high = _bounds(pool.subnet)
            if not low <= int(address) <= high or int(address) in self._taken[address.version]:
                raise ForbiddenError(TAKEN)
            self._mark(address)
            return _text(int(address), pool.subnet)
        raise InvalidParameterError("Requested address is out of range")

    def _mark(self, address: Address) -> None:
        self._taken[address.version].add(int(address))

    def hold(self, text: str) -> None:
        """An address with its prefix length is given away already."""
        self._mark(ipaddress.ip_interface(text).ip)

    def give_back(self, text: str) -> None:
        """An address with its prefix length is free again; one that was free stays so."""
        address = ipaddress.ip_interface(text).ip
        self._taken[address.version].discard(int(address))

    def taken(self, version: int) -> int:
        """How many are given away or set aside."""
        return len(self._taken[version])


def gateway_of(pool: PoolRecord) -> str:
    """The address that a network takes of a pool that names no gateway: the first free one."""
    return str(ipaddress.ip_interface(Addresses((pool,)).take(_version(pool))).ip)


def _version(pool: PoolRecord) -> int:
    return ipaddress.ip_network(pool.subnet).version


def _text(number: int, subnet: Network) -> str:
    kind = ipaddress.IPv4Address if subnet.version == 4 else ipaddress.IPv6Address
    return f"{kind(number)}/{subnet.prefixlen}"
