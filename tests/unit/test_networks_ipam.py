"""Pools and addresses: what is given away is the network's own, once, and comes back."""

import ipaddress
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiod.errors import ForbiddenError, InvalidParameterError, UnavailableError
from aiod.networks import ipam
from aiod.networks.ipam import Addresses, Network
from aiod.store.networkrecords import PoolRecord

POOL = PoolRecord("172.17.0.0/16", gateway="172.17.0.1")
SEED = bytes(range(5))


def nets(*texts: str) -> Iterable[Network]:
    return [ipaddress.ip_network(text) for text in texts]


def test_two_hundred_distinct_and_all_return() -> None:
    addresses = Addresses([POOL])
    before = addresses.taken(4)
    given_away = [addresses.take(4) for _ in range(200)]
    assert given_away[:2] == ["172.17.0.2/16", "172.17.0.3/16"]
    assert len(set(given_away)) == 200
    for text in given_away:
        addresses.give_back(text)
    assert addresses.taken(4) == before


def test_a_freed_address_is_not_given_again_at_once() -> None:
    addresses = Addresses([POOL])
    first = addresses.take(4)
    addresses.give_back(first)
    assert addresses.take(4) == "172.17.0.3/16"


def test_all_of_a_small_pool_are_given_before_it_is_exhausted() -> None:
    addresses = Addresses(
        [PoolRecord("10.0.0.0/29", gateway="10.0.0.1", auxiliary={"a": "10.0.0.3"})]
    )
    found = {addresses.take(4) for _ in range(4)}
    assert found == {"10.0.0.2/29", "10.0.0.4/29", "10.0.0.5/29", "10.0.0.6/29"}
    with pytest.raises(UnavailableError, match="no available IPv4 addresses"):
        addresses.take(4)
    addresses.give_back("10.0.0.5/29")
    assert addresses.take(4) == "10.0.0.5/29"


def test_a_range_bounds_what_is_chosen_and_not_what_is_asked_for() -> None:
    addresses = Addresses([PoolRecord("10.1.0.0/16", "10.1.5.0/30", "10.1.5.0")])
    assert [addresses.take(4) for _ in range(3)] == [f"10.1.5.{n}/16" for n in (1, 2, 3)]
    with pytest.raises(UnavailableError):
        addresses.take(4)
    assert addresses.take(4, "10.1.200.7") == "10.1.200.7/16"


def test_the_next_pool_is_used_when_one_is_full() -> None:
    addresses = Addresses([PoolRecord("10.0.0.0/30", gateway="10.0.0.1"),
                           PoolRecord("10.9.0.0/30", gateway="10.9.0.1")])  # fmt: skip
    assert [addresses.take(4), addresses.take(4)] == ["10.0.0.2/30", "10.9.0.2/30"]
    with pytest.raises(UnavailableError, match="IPv6"):
        addresses.take(6)


@pytest.mark.parametrize(
    ("wanted", "refusal"),
    [
        ("172.17.0.1", ForbiddenError),
        ("172.17.0.0", ForbiddenError),
        ("172.17.255.255", ForbiddenError),
        ("10.0.0.1", InvalidParameterError),
        ("fd00::1", InvalidParameterError),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(wanted: str, refusal: type[Exception]) -> None:
    addresses = Addresses([POOL])
    before = addresses.taken(4)
    with pytest.raises(refusal):
        addresses.take(4, wanted)
    assert addresses.taken(4) == before


def test_a_fixed_address_is_had_once() -> None:
    addresses = Addresses([POOL])
    assert addresses.take(4, "172.17.9.9") == "172.17.9.9/16"
    with pytest.raises(ForbiddenError, match="Address already in use"):
        addresses.take(4, "172.17.9.9")


def test_ipv6_never_gives_the_routers_address() -> None:
    addresses = Addresses([PoolRecord("fd00:1::/64", gateway="fd00:1::1")])
    assert addresses.take(6) == "fd00:1::2/64"
    with pytest.raises(ForbiddenError):
        addresses.take(6, "fd00:1::")


def test_the_gateway_is_the_first_of_the_range() -> None:
    assert ipam.gateway_of(PoolRecord("172.28.0.0/16")) == "172.28.0.1"
    assert ipam.gateway_of(PoolRecord("fd00:1::/64")) == "fd00:1::1"
    taken = PoolRecord("172.28.0.0/16", auxiliary={"router": "172.28.0.1"})
    assert ipam.gateway_of(taken) == "172.28.0.2"


def test_default_pools_pass_over_what_is_in_use() -> None:
    assert str(ipam.choose_pool(4, SEED, nets())) == "172.17.0.0/16"
    used = nets("172.17.0.0/16", "172.18.3.0/24", "172.16.0.0/13")
    assert str(ipam.choose_pool(4, SEED, used)) == "172.24.0.0/16"
    assert str(ipam.choose_pool(6, SEED, used)) == "fd00:102:304::/64"
    with pytest.raises(UnavailableError, match="non-overlapping IPv4 address pool"):
        ipam.choose_pool(4, SEED, nets("0.0.0.0/0"))


def test_the_default_pools_are_dockers() -> None:
    pools = [str(pool) for pool in ipam.default_pools(4, SEED)]
    assert len(pools) == 15 + 16
    assert pools[14:16] == ["172.31.0.0/16", "192.168.0.0/20"]
    assert pools[-1] == "192.168.240.0/20"


@given(st.data())
def test_what_is_given_away_is_always_the_networks_own_and_nobody_elses(
    data: st.DataObject,
) -> None:
    length: int = data.draw(st.integers(24, 30))
    subnet = ipaddress.ip_network(f"10.0.0.0/{length}")
    hosts = [str(host) for host in subnet.hosts()]
    gateway: str = data.draw(st.sampled_from(hosts))
    addresses = Addresses([PoolRecord(str(subnet), gateway=gateway)])
    held: set[str] = set()
    for _ in range(data.draw(st.integers(0, 40))):
        back: bool = data.draw(st.booleans())
        if held and back:
            gone: str = data.draw(st.sampled_from(sorted(held)))
            addresses.give_back(gone)
            held.discard(gone)
            continue
        wanted: str = data.draw(st.sampled_from(["", *hosts]))
        try:
            got = addresses.take(4, wanted)
        except ForbiddenError:
            assert wanted == gateway or f"{wanted}/{length}" in held
            continue
        except UnavailableError:
            assert len(held) == len(hosts) - 1
            continue
        assert got not in held
        assert got.partition("/")[0] in hosts
        assert got.partition("/")[0] != gateway
        held.add(got)
        assert addresses.taken(4) == len(held) + 1


@given(st.integers(8, 30), st.integers(0, 2**32 - 1), st.integers(8, 30), st.integers(0, 2**32 - 1))
def test_overlaps_is_what_the_library_says(a: int, x: int, b: int, y: int) -> None:
    one = ipaddress.IPv4Network((x, a), strict=False)
    other = ipaddress.IPv4Network((y, b), strict=False)
    assert ipam.overlaps(one, other) == one.overlaps(other)
