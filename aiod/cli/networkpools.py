"""The address pools that `network create` asks for: which gateway and range is of which subnet.

Pure; every failure is a click.BadParameter in docker's words. Must not know which pools are taken.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

import click
import msgspec

Net = ipaddress.IPv4Network | ipaddress.IPv6Network


class Pool(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of `IPAM.Config`."""

    Subnet: str
    IPRange: str = ""
    Gateway: str = ""
    AuxiliaryAddresses: dict[str, str] = {}


def pools(
    subnets: Sequence[str],
    ranges: Sequence[str],
    gateways: Sequence[str],
    auxiliary: Mapping[str, str],
) -> list[Pool]:
    """One pool for each subnet, with all that lies in it."""
    if len(subnets) < len(ranges) or len(subnets) < len(gateways):
        raise click.BadParameter("every ip-range or gateway must have a corresponding subnet")
    nets = {subnet: _net(subnet, "subnet") for subnet in subnets}
    _check_apart(list(nets.values()), len(subnets))
    found = {subnet: Pool(subnet) for subnet in subnets}
    for text in ranges:
        net = _net(text, "range")
        subnet = _holder(nets, net[0], f"no matching subnet for range {text}")
        had = found[subnet].IPRange
        if had:
            raise click.BadParameter(
                f"cannot configure multiple ranges ({text}, {had}) on the same subnet ({subnet})"
            )
        found[subnet] = msgspec.structs.replace(found[subnet], IPRange=text)
    _place_gateways(found, nets, gateways)
    _place_auxiliary(found, nets, auxiliary)
    return list(found.values())


def _place_gateways(found: dict[str, Pool], nets: Mapping[str, Net], all_of: Iterable[str]) -> None:
    for text in all_of:
        subnet = _place(nets, text, "gateway")
        had = found[subnet].Gateway
        if had:
            raise click.BadParameter(
                f"cannot configure multiple gateways ({text}, {had}) for the same subnet ({subnet})"
            )
        found[subnet] = msgspec.structs.replace(found[subnet], Gateway=text)


def _place_auxiliary(
    found: dict[str, Pool], nets: Mapping[str, Net], all_of: Mapping[str, str]
) -> None:
    for name, text in all_of.items():
        subnet = _place(nets, text, "aux-address")
        with_it = {**found[subnet].AuxiliaryAddresses, name: text}
        found[subnet] = msgspec.structs.replace(found[subnet], AuxiliaryAddresses=with_it)


def _net(text: str, what: str) -> Net:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise click.BadParameter(f"invalid {what}: {text!r} is not ADDRESS/LENGTH") from None


def _check_apart(nets: Sequence[Net], given: int) -> None:
    overlap = len(nets) < given or any(
        one.overlaps(other)
        for index, one in enumerate(nets)
        for other in nets[:index]
        if one.version == other.version
    )
    if overlap:
        raise click.BadParameter("multiple overlapping subnet configuration is not supported")


def _place(nets: Mapping[str, Net], text: str, what: str) -> str:
    otherwise = f"no matching subnet for {what} {text}"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise click.BadParameter(otherwise) from None
    return _holder(nets, address, otherwise)


def _holder(
    nets: Mapping[str, Net], address: ipaddress.IPv4Address | ipaddress.IPv6Address, otherwise: str
) -> str:
    for subnet, net in nets.items():
        if address in net:
            return subnet
    raise click.BadParameter(otherwise)
