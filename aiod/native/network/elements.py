"""Published ports as elements of our table's maps, added and taken away by netlink.

Owns the messages; must not know which rules look there. Not by libnftables: that is 115 us an
element instead of 9, and a library that each shim would have to load. Source: libnftnl's
messages, `linux/netfilter/nf_tables.h`. A batch is one transaction: all of it or nothing.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from itertools import groupby

from aiod.native.errors import NativeError
from aiod.native.network.description import Port
from aiod.native.network.ruleset import PROTOCOLS, Mapping, mapping_of

_NETFILTER = 12  # NETLINK_NETFILTER
_BEGIN, _END = 0x10, 0x11  # NFNL_MSG_BATCH_*
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_NEW, _DELETE = _SUBSYSTEM << 8 | 12, _SUBSYSTEM << 8 | 14  # NFT_MSG_*SETELEM
_INET = 1  # NFPROTO_INET
_REQUEST, _ACK, _CREATE = 0x1, 0x4, 0x400
_NESTED = 0x8000
_TABLE, _SET, _ELEMENTS = 1, 2, 3 | _NESTED  # NFTA_SET_ELEM_LIST_*
_ITEM, _KEY, _DATA, _VALUE = 1 | _NESTED, 1 | _NESTED, 2 | _NESTED, 1
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct("=BBH")
_ERROR = 2
_SECONDS = 10.0
_PUBLISH = "publish ports"
_RECEIVE = 1 << 16


def publish(table: str, ports: Iterable[Port]) -> None:
    """Have the host's ports lead to the container's, whomever they led to. Again is no error.

    Raises NativeError, errno ENOENT if there is no such table.
    """
    mappings = _mappings(ports)
    try:
        if mappings:
            _commit(table, mappings, _NEW, _PUBLISH)
    except NativeError as error:
        if error.errno != errno.EEXIST:
            raise
        _withdraw(table, mappings)
        _commit(table, mappings, _NEW, _PUBLISH)


def withdraw(table: str, ports: Iterable[Port]) -> None:
    """Take the elements of `ports` away, as many as are there. Raises NativeError."""
    if mappings := _mappings(ports):
        _withdraw(table, mappings)


def _withdraw(table: str, mappings: Sequence[Mapping]) -> None:
    """All at once; one by one where one of several is not there."""
    try:
        _commit(table, mappings, _DELETE, "withdraw ports")
    except NativeError as error:
        if error.errno != errno.ENOENT:
            raise
        for one in mappings if len(mappings) > 1 else ():
            _withdraw(table, [one])


def _mappings(ports: Iterable[Port]) -> list[Mapping]:
    found = {mapping for port in ports if (mapping := mapping_of(port)) is not None}
    return sorted(found, key=lambda one: (one.map, one.text))


def _commit(table: str, mappings: Sequence[Mapping], kind: int, step: str) -> None:
    """One transaction; what fails it is the first thing that the kernel says."""
    changes = [
        _change(table, name, list(group), kind)
        for name, group in groupby(mappings, key=lambda one: one.map)
    ]
    first = 2
    batch = [_message(_BEGIN, _REQUEST, 0, _SUBSYSTEM, b"", 1)]
    for number, change in enumerate(changes, first):
        flags = _REQUEST | _ACK | (_CREATE if kind == _NEW else 0)
        batch.append(_message(kind, flags, _INET, 0, change, number))
    batch.append(_message(_END, _REQUEST, 0, _SUBSYSTEM, b"", first + len(changes)))
    try:
        _exchange(b"".join(batch), len(changes))
    except OSError as error:
        number = error.errno or 0
        raise NativeError(step, number, _words(table, number)) from error


def _words(table: str, number: int) -> str:
    said = os.strerror(number).lower()
    return f"{said} (nftables table inet {table})"


def _exchange(batch: bytes, wanted: int) -> None:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, _NETFILTER) as kernel:
        kernel.settimeout(_SECONDS)
        kernel.sendto(batch, (0, 0))
        while wanted > 0:
            wanted -= _acknowledged(kernel.recv(_RECEIVE))


def _acknowledged(data: bytes) -> int:
    """How many acknowledgements there are. Raises OSError for an error among them."""
    at = found = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind == _ERROR:
            (number,) = struct.unpack_from("=i", data, at + _HEADER.size)
            if number:
                raise OSError(-number, os.strerror(-number))
            found += 1
        at += max(_HEADER.size, (length + 3) & ~3)
    return found


def _change(table: str, name: str, mappings: Sequence[Mapping], kind: int) -> bytes:
    elements = b"".join(
        _attribute(_ITEM, _key(one) + (_data(one) if kind == _NEW else b"")) for one in mappings
    )
    names = _attribute(_TABLE, table.encode() + b"\0") + _attribute(_SET, name.encode() + b"\0")
    return names + _attribute(_ELEMENTS, elements)


def _key(mapping: Mapping) -> bytes:
    """Each field of a concatenation is padded to four bytes."""
    address = _packed(mapping.host_address) if mapping.host_address else b""
    fields = bytes((PROTOCOLS[mapping.protocol], 0, 0, 0)) + address + _service(mapping.host_port)
    return _attribute(_KEY, _attribute(_VALUE, fields))


def _data(mapping: Mapping) -> bytes:
    fields = _packed(mapping.address) + _service(mapping.port)
    return _attribute(_DATA, _attribute(_VALUE, fields))


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _service(port: int) -> bytes:
    return struct.pack("!Hxx", port)


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _message(kind: int, flags: int, family: int, resource: int, body: bytes, number: int) -> bytes:
    head = _FAMILY.pack(family, 0, socket.htons(resource))
    length = _HEADER.size + len(head) + len(body)
    return _HEADER.pack(length, kind, flags, number, 0) + head + body
