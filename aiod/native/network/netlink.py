"""Talks to the kernel's rtnetlink: requests in batches, each acknowledged, and dumps.

Owns the socket and the numbering; must not know what is in a message. Source: netlink(7),
rtnetlink(7). The kernel carries a batch out within the call that sends it, so nothing here waits
for long, and a process killed in between has done all of the batch or nothing.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiod.native.errors import NativeError

ACK, DUMP, CREATE, EXCL, REPLACE = 0x4, 0x300, 0x400, 0x200, 0x100
REQUEST = 0x1
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ERROR, _DONE = 2, 3
_DUMP_INTERRUPTED, _EXTENDED = 0x10, 0x200
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_MESSAGE = 1  # NLMSGERR_ATTR_MSG
_BATCH = 32  # acknowledgements that surely fit a socket's buffer
_RECEIVE = 1 << 18
_SEQUENCE = 8


@dataclass(frozen=True, slots=True)
class Request:
    """One message; `step` names it as a user would recognise it. `ignore` are errors that mean
    that it is as wanted already."""

    step: str
    data: bytes
    ignore: tuple[int, ...] = ()


class Socket:
    """A socket in the network namespace that the calling thread was in when it was made."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_NETLINK, kind, 0)
        except OSError as error:
            raise NativeError("open a netlink socket", error.errno or 0) from error
        self._next = 1
        for option in (_CAP_ACK, _EXT_ACK, _STRICT):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)

    def close(self) -> None:
        """Give the descriptor back."""
        self._socket.close()

    def __enter__(self) -> "Socket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def commit(self, requests: Sequence[Request]) -> None:
        """Have them carried out in order. Raises NativeError naming the first that failed.

        Those behind it in the same batch are tried nevertheless.
        """
        for start in range(0, len(requests), _BATCH):
            self._commit(requests[start : start + _BATCH])

    def _commit(self, requests: Sequence[Request]) -> None:
        first, self._next = self._next, self._next + len(requests)
        numbered = [_numbered(one.data, first + n) for n, one in enumerate(requests)]
        failed: dict[int, NativeError] = {}
        self._send(b"".join(numbered), requests[0].step)
        waiting = set(range(first, first + len(requests)))
        while waiting:
            for kind, flags, sequence, body in self._receive(requests[0].step):
                if kind != _ERROR or sequence not in waiting:
                    continue
                waiting.discard(sequence)
                error = _error(requests[sequence - first], flags, body)
                if error is not None:
                    failed[sequence] = error
        if failed:
            raise failed[min(failed)]

    def dump(self, request: Request) -> list[bytes]:
        """The messages of the answer, whole: of a dump, or of one acknowledged question.

        Raises NativeError.
        """
        while True:
            answer, interrupted = self._dump(request)
            if not interrupted:
                return answer

    def _dump(self, request: Request) -> tuple[list[bytes], bool]:
        sequence, self._next = self._next, self._next + 1
        self._send(_numbered(request.data, sequence), request.step)
        found: list[bytes] = []
        interrupted = False
        while True:
            for kind, flags, number, body in self._receive(request.step):
                if number != sequence:
                    continue
                interrupted = interrupted or bool(flags & _DUMP_INTERRUPTED)
                if kind == _ERROR and (error := _error(request, flags, body)) is not None:
                    raise error
                if kind in (_DONE, _ERROR):
                    return found, interrupted
                found.append(HEADER.pack(HEADER.size + len(body), kind, flags, number, 0) + body)

    def _send(self, data: bytes, step: str) -> None:
        try:
            self._socket.sendto(data, (0, 0))
        except OSError as error:
            raise NativeError(step, error.errno or 0) from error

    def _receive(self, step: str) -> Iterator[tuple[int, int, int, bytes]]:
        """Type, flags, sequence and body of the messages of one datagram."""
        try:
            data = self._socket.recv(_RECEIVE)
        except OSError as error:
            raise NativeError(step, error.errno or 0) from error
        at = 0
        while at + HEADER.size <= len(data):
            length, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
            yield kind, flags, sequence, data[at + HEADER.size : at + length]
            at += (length + 3) & ~3


def _numbered(data: bytes, sequence: int) -> bytes:
    padding = bytes(-len(data) % 4)
    return data[:_SEQUENCE] + struct.pack("=I", sequence) + data[_SEQUENCE + 4 :] + padding


def _error(request: Request, flags: int, body: bytes) -> NativeError | None:
    """What an acknowledgement says; the kernel's own words, if it has any, behind the number's."""
    (number,) = struct.unpack_from("=i", body)
    if number == 0 or -number in request.ignore:
        return None
    said = _text(body[4 + HEADER.size :]) if flags & _EXTENDED else ""
    known = os.strerror(-number).lower()
    return NativeError(request.step, -number, f"{known} ({said})" if said else known)


def _text(attributes: bytes) -> str:
    at = 0
    while at + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        if kind == _MESSAGE:
            return attributes[at + 4 : at + length].rstrip(b"\0").decode(errors="replace")
        at += max(4, (length + 3) & ~3)
    return ""


EXISTS = (errno.EEXIST,)
GONE = (errno.ENODEV, errno.ENOENT)
