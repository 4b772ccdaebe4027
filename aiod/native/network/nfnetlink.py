"""Talks to the kernel's netfilter: messages, batches of them, and dumps, over netlink.

Owns the bytes; must not know what is asked. Source: `linux/netfilter/nfnetlink.h`.
"""

import contextlib
import os
import socket
import struct
import threading
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
_SEND = 1 << 24
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h
_NUMBER = 8  # where a header has it


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


class Connection:
    """A socket in the network namespace that the calling thread was in when it was made.

    To be kept: as the kernel closes one, it waits for what any transaction has deleted to be
    freed, and holds up every other transaction meanwhile. (Measured with 8 threads that publish
    and withdraw: 81 ms for one with sockets of their own, 23 us with one that is kept.) Any thread
    may use it; one at a time does.
    """

    def __init__(self) -> None:
        self._socket = _socket()
        self._lock = threading.Lock()
        self._next = 1

    def close(self) -> None:
        """Give the descriptor back; so does the end of this object."""
        self._socket.close()

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()

    def transact(self, subsystem: int, messages: Sequence[bytes]) -> None:
        """Have acknowledged messages carried out, all or none. Raises OSError."""
        begin = message(_BEGIN, REQUEST, 0, b"", subsystem)
        end = message(_END, REQUEST, 0, b"", subsystem)
        with self._lock:
            first = self._send([begin, *messages, end])
            waiting = set(range(first + 1, first + 1 + len(messages)))
            while waiting:
                for kind, number, body in self._received():
                    if number in range(first, self._next) and _acknowledged(kind, body):
                        waiting.discard(number)

    def ask(self, question: bytes) -> None:
        """Have one acknowledged message carried out. Raises OSError."""
        with self._lock:
            number = self._send([question])
            done = False
            while not done:
                for kind, answered, body in self._received():
                    done = done or (answered == number and _acknowledged(kind, body))

    def dump(self, question: bytes) -> list[bytes]:
        """The attributes of each message of the answer. Raises OSError."""
        found: list[bytes] = []
        with self._lock:
            number = self._send([question])
            while True:
                for kind, answered, body in self._received():
                    if answered != number:
                        continue
                    if kind == _DONE or _acknowledged(kind, body):
                        return found
                    found.append(body[_FAMILY.size :])

    def _send(self, messages: Sequence[bytes]) -> int:
        """Number them in turn; the first number. Answers to earlier ones are passed over."""
        first, self._next = self._next, self._next + len(messages)
        numbered = (_numbered(one, number) for number, one in enumerate(messages, first))
        self._socket.sendto(b"".join(numbered), (0, 0))
        return first

    def _received(self) -> Iterator[tuple[int, int, bytes]]:
        """Kind, number and body of the messages of one datagram."""
        data, _, flags, _ = self._socket.recvmsg(_RECEIVE)
        if flags & socket.MSG_TRUNC:
            raise OSError(ENOSPC, "an answer of the kernel's that is too long")
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, _, number, _ = _HEADER.unpack_from(data, at)
            yield kind, number, data[at + _HEADER.size : at + length]
            at += max(_HEADER.size, (length + 3) & ~3)


def _numbered(one: bytes, number: int) -> bytes:
    return one[:_NUMBER] + struct.pack("=I", number) + one[_NUMBER + 4 :]


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
    made.settimeout(_SECONDS)
    with contextlib.suppress(PermissionError):  # a smaller one carries fewer ports at a time
        made.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND)
    return made


def _acknowledged(kind: int, body: bytes) -> bool:
    """Whether it is an acknowledgement. Raises OSError if it is an error."""
    if kind != _ERROR:
        return False
    (number,) = struct.unpack_from("=i", body)
    if number:
        raise OSError(-number, os.strerror(-number))
    return True
