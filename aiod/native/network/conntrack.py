"""What the kernel remembers of datagrams that went to a published port.

Owns how it is made to forget: a client that goes on sending from one port would be led to the
address of a container that is gone for as long as it sends. Source:
`linux/netfilter/nfnetlink_conntrack.h`; filters in dumps are Linux 5.8's.
"""

import socket
import struct
from collections.abc import Iterable
from errno import ENOENT

from aiod.native.errors import NativeError
from aiod.native.network import nfnetlink
from aiod.native.network.description import Port
from aiod.native.network.nfnetlink import NESTED, Connection, attribute

_SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = _SUBSYSTEM << 8 | 1, _SUBSYSTEM << 8 | 2
_ORIGINAL, _REPLY, _FILTER = 1, 2, 25  # CTA_*
_ADDRESSES, _PROTOCOL = 1, 2  # CTA_TUPLE_*
_SOURCE4, _SOURCE6 = 1, 3  # CTA_IP_V4_SRC, CTA_IP_V6_SRC
_NUMBER, _SOURCE_PORT = 1, 2  # CTA_PROTO_*
_REPLY_FLAGS, _ORIGINAL_FLAGS = 2, 1  # CTA_FILTER_*
_BY_PORT = 8 | 16  # CTA_FILTER_FLAG: the protocol, the port
_UDP = 17


def forget(kernel: Connection, ports: Iterable[Port]) -> None:
    """Nothing is remembered any more of datagrams to the container's ports. Raises NativeError."""
    sources = {(port.address, port.port) for port in ports if port.protocol == "udp"}
    try:
        for address, number in sorted(sources):
            _forget(kernel, address, number)
    except OSError as error:
        raise NativeError("forget the flows of a port", error.errno or 0) from error


def _forget(kernel: Connection, address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    flags = nfnetlink.REQUEST | nfnetlink.DUMP
    packed = socket.inet_pton(family, address)
    for answer in kernel.dump(nfnetlink.message(_GET, flags, family, _from(port))):
        entry = dict(nfnetlink.attributes(answer))
        if _source(entry[_REPLY]) == packed:
            _delete(kernel, family, attribute(_ORIGINAL | NESTED, entry[_ORIGINAL]))


def _source(tuple_: bytes) -> bytes:
    """The address that a direction's datagrams come from."""
    addresses = dict(nfnetlink.attributes(dict(nfnetlink.attributes(tuple_))[_ADDRESSES]))
    return addresses.get(_SOURCE4) or addresses.get(_SOURCE6) or b""


def _delete(kernel: Connection, family: int, original: bytes) -> None:
    flags = nfnetlink.REQUEST | nfnetlink.ACK
    try:
        kernel.ask(nfnetlink.message(_DELETE, flags, family, original))
    except OSError as error:
        if error.errno != ENOENT:  # it may have ended by itself
            raise


def _from(port: int) -> bytes:
    """What selects flows that are answered from a port.

    Not from an address: of IPv6's, kernels select all but that one (seen with 6.18).
    """
    number = attribute(_NUMBER, bytes((_UDP,))) + attribute(_SOURCE_PORT, struct.pack("!H", port))
    tuple_ = attribute(_PROTOCOL | NESTED, number)
    by = attribute(_ORIGINAL_FLAGS, struct.pack("=I", 0))
    by += attribute(_REPLY_FLAGS, struct.pack("=I", _BY_PORT))
    return attribute(_REPLY | NESTED, tuple_) + attribute(_FILTER | NESTED, by)
