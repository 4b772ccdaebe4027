"""Published ports as elements of our table's maps, added and taken away by netlink.

Owns the messages; must not know which rules look there. Not by libnftables: that is 115 us an
element instead of 9, and a library that each shim would have to load. Source: libnftnl's
messages, `linux/netfilter/nf_tables.h`. A batch is one transaction: all of it or nothing.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from aiod.native.errors import NativeError
from aiod.native.network import conntrack, nfnetlink
from aiod.native.network.description import Port
from aiod.native.network.nfnetlink import NESTED, Connection, attribute
from aiod.native.network.ruleset import PROTOCOLS, Mapping, mapping_of

_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_NEW, _DELETE = _SUBSYSTEM << 8 | 12, _SUBSYSTEM << 8 | 14  # NFT_MSG_*SETELEM
_INET = 1  # NFPROTO_INET
_TABLE, _SET, _ELEMENTS = 1, 2, 3 | NESTED  # NFTA_SET_ELEM_LIST_*
_ITEM, _KEY, _DATA, _VALUE = 1 | NESTED, 1 | NESTED, 2 | NESTED, 1
_MOST = 500
_PUBLISH = "publish ports"


class Elements:
    """The maps of one table; its sockets are of the network namespace that it was made in."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._rules = Connection()
        self._flows = Connection()

    def close(self) -> None:
        """Give the descriptors back."""
        self._rules.close()
        self._flows.close()

    def publish(self, ports: Iterable[Port]) -> None:
        """Have the host's ports lead to the container's, whomever they led to. Again is no error.

        Raises NativeError, errno ENOENT if there is no such table.
        """
        mappings = _mappings(ports)
        try:
            if mappings:
                self._commit(mappings, _NEW, _PUBLISH)
        except NativeError as error:
            if error.errno != errno.EEXIST:
                raise
            self._withdraw(mappings)
            self._commit(mappings, _NEW, _PUBLISH)

    def withdraw(self, ports: Iterable[Port]) -> None:
        """Take the elements of `ports` away, as many as are there. Raises NativeError.

        What the kernel remembers of those of datagrams goes with them.
        """
        ports = tuple(ports)
        if mappings := _mappings(ports):
            self._withdraw(mappings)
        conntrack.forget(self._flows, ports)

    def _withdraw(self, mappings: Sequence[Mapping]) -> None:
        """All at once; one by one where one of several is not there."""
        try:
            self._commit(mappings, _DELETE, "withdraw ports")
        except NativeError as error:
            if error.errno != errno.ENOENT:
                raise
            for one in mappings if len(mappings) > 1 else ():
                self._withdraw([one])

    def _commit(self, mappings: Sequence[Mapping], kind: int, step: str) -> None:
        """One transaction; what fails it is the first thing that the kernel says."""
        flags = nfnetlink.REQUEST | nfnetlink.ACK | (nfnetlink.CREATE if kind == _NEW else 0)
        changes = [
            nfnetlink.message(kind, flags, _INET, _change(self._table, name, some, kind))
            for name, group in groupby(mappings, key=lambda one: one.map)
            for some in _in_parts(list(group))
        ]
        try:
            self._rules.transact(_SUBSYSTEM, changes)
        except OSError as error:
            number = error.errno or 0
            raise NativeError(step, number, _words(self._table, number)) from error


def _mappings(ports: Iterable[Port]) -> list[Mapping]:
    found = {mapping for port in ports if (mapping := mapping_of(port)) is not None}
    return sorted(found, key=lambda one: (one.map, one.text))


def _in_parts(mappings: Sequence[Mapping]) -> Iterator[Sequence[Mapping]]:
    """As many as an attribute can hold, which is 64 KiB."""
    for first in range(0, len(mappings), _MOST):
        yield mappings[first : first + _MOST]


def _words(table: str, number: int) -> str:
    said = os.strerror(number).lower()
    return f"{said} (nftables table inet {table})"


def _change(table: str, name: str, mappings: Sequence[Mapping], kind: int) -> bytes:
    elements = b"".join(
        attribute(_ITEM, _key(one) + (_data(one) if kind == _NEW else b"")) for one in mappings
    )
    names = attribute(_TABLE, table.encode() + b"\0") + attribute(_SET, name.encode() + b"\0")
    return names + attribute(_ELEMENTS, elements)


def _key(mapping: Mapping) -> bytes:
    """Each field of a concatenation is padded to four bytes."""
    address = _packed(mapping.host_address) if mapping.host_address else b""
    fields = bytes((PROTOCOLS[mapping.protocol], 0, 0, 0)) + address + _service(mapping.host_port)
    return attribute(_KEY, attribute(_VALUE, fields))


def _data(mapping: Mapping) -> bytes:
    fields = _packed(mapping.address) + _service(mapping.port)
    return attribute(_DATA, attribute(_VALUE, fields))


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _service(port: int) -> bytes:
    return struct.pack("!Hxx", port)
