"""Talks to the kernel's netfilter: messages, batches of them, and dumps, over netlink.

Owns the bytes; must not know what is asked. Source: `linux/netfilter/nfnetlink.h`.
"""

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from errno import ENOSPC

REQUEST, ACK, CREATE, DUMP = 0x1, 0x4, 0x400, 0x300
NESTED = 0x8000
_NETFILTER = 12  # NETLINK_NETFILTER
_BEGIN, _END = 0x10, 0x11  # NFNL_MSG_BATCH_*
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct("=BBH")
HEAD = _HEADER.size + _FAMILY.size
_SECONDS = 10.0
_RECEIVE = 1 << 18


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of a body or of a nested one: each kind without its flags, and its data."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        yield kind & ~NESTED, data[at + 4 : at + length]
        at += max(4, (length + 3) & ~3)


def message(kind: int, flags: int, family: int, body: bytes, resource: int = 0) -> bytes:
    """One message, without a number."""
    head = _FAMILY.pack(family, 0, socket.htons(resource))
    return _HEADER.pack(HEAD + len(body), kind, flags, 0, 0) + head + body


def transact(subsystem: int, messages: Sequence[bytes]) -> None:
    """Have acknowledged messages carried out, all or none. Raises OSError."""
    begin = message(_BEGIN, REQUEST, 0, b"", subsystem)
    end = message(_END, REQUEST, 0, b"", subsystem)
    with _socket() as kernel:
        kernel.sendto(b"".join((begin, *messages, end)), (0, 0))
        wanted = len(messages)
        while wanted > 0:
            wanted -= sum(_acknowledged(kind, body) for kind, body in _received(kernel))


def ask(question: bytes) -> None:
    """Have one acknowledged message carried out. Raises OSError."""
    with _socket() as kernel:
        kernel.sendto(question, (0, 0))
        while not any(_acknowledged(kind, body) for kind, body in _received(kernel)):
            continue


def dump(question: bytes) -> list[bytes]:
    """The attributes of each message of the answer. Raises OSError."""
    found: list[bytes] = []
    with _socket() as kernel:
        kernel.sendto(question, (0, 0))
        while True:
            for kind, body in _received(kernel):
                if kind == _DONE or _acknowledged(kind, body):
                    return found
                found.append(body[_FAMILY.size :])


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
    made.settimeout(_SECONDS)
    return made


def _received(kernel: socket.socket) -> Iterator[tuple[int, bytes]]:
    data, _, flags, _ = kernel.recvmsg(_RECEIVE)
    if flags & socket.MSG_TRUNC:
        raise OSError(ENOSPC, "an answer of the kernel's that is too long")
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + length]
        at += max(_HEADER.size, (length + 3) & ~3)


def _acknowledged(kind: int, body: bytes) -> bool:
    """Whether it is an acknowledgement. Raises OSError if it is an error."""
    if kind != _ERROR:
        return False
    (number,) = struct.unpack_from("=i", body)
    if number:
        raise OSError(-number, os.strerror(-number))
    return True
