"""A name server on a host of the suite's: knows one name and denies all others.

UDP only; must not know who asks.
"""

import socket
import struct

from tests.support.netns import Namespace
from tests.support.threaded import Threaded

NAME, ADDRESS = "known.test", "198.51.100.9"
_NO_SUCH_NAME = 3


class NameServer(Threaded):
    """Runs inside `with`, at port 53 of an address of a namespace."""

    def __init__(self, where: Namespace, address: str) -> None:
        super().__init__()
        with where.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 53))
        self._wake = where, address

    def _end(self) -> None:
        where, address = self._wake
        with where.entered():
            last = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with last:
            last.sendto(b"", (address, 53))

    def _close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, client = self._socket.recvfrom(4096)
            if not question:
                return
            self._socket.sendto(_answer(question), client)


def _answer(message: bytes) -> bytes:
    """RFC 1035, section 4: the question again, and its answer."""
    end = message.index(b"\0", 12) + 5
    question = message[12:end]
    labels = NAME.split(".")
    known = b"".join(bytes((len(one),)) + one.encode() for one in labels) + b"\0"
    matches = question[:-4].lower() == known
    wants_address = question[-4:] == struct.pack("!HH", 1, 1)
    answers = 1 if matches and wants_address else 0
    flags = 0x8180 | (0 if matches else _NO_SUCH_NAME)
    header = message[:2] + struct.pack("!HHHHH", flags, 1, answers, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(ADDRESS)
    return header + question + record * answers
