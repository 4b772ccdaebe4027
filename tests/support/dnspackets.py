"""DNS questions and answers as bytes (RFC 1035), read and written without the project's code."""

import ipaddress
import struct
from dataclasses import dataclass

A, PTR, TXT, AAAA, OPT, ANY = 1, 12, 16, 28, 41, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)


def name_bytes(name: str) -> bytes:
    """Labels with their lengths."""
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def question(name: str, kind: int = A, identity: int = 7, edns: int = 0) -> bytes:
    """A query; `edns` is how many bytes of an answer its sender takes, 0 for no word on it."""
    head = struct.pack(">6H", identity, 0x0100, 1, 0, 0, 1 if edns else 0)
    extra = struct.pack(">BHHIH", 0, OPT, edns, 0, 0) if edns else b""
    return head + name_bytes(name) + struct.pack(">HH", kind, 1) + extra


def reply(asked: bytes, records: tuple[tuple[int, bytes], ...] = (), code: int = 0) -> bytes:
    """An answer to a query without additional records: (type, data) each."""
    head = asked[:2] + struct.pack(">5H", 0x8180 | code, 1, len(records), 0, 0)
    body = b"".join(
        struct.pack(">HHHIH", 0xC00C, kind, 1, 60, len(data)) + data for kind, data in records
    )
    return head + asked[12:] + body


@dataclass(frozen=True)
class Answer:
    """What matters of an answer; `edns` is the size it names, None without the record."""

    identity: int
    code: int
    truncated: bool
    records: tuple[str, ...]
    edns: int | None


def _skip(packet: bytes, at: int) -> int:
    while packet[at]:
        if packet[at] >= 0xC0:
            return at + 2
        at += 1 + packet[at]
    return at + 1


def _text(packet: bytes, at: int) -> str:
    labels = []
    while packet[at]:
        labels.append(packet[at + 1 : at + 1 + packet[at]].decode())
        at += 1 + packet[at]
    return ".".join(labels)


def _value(kind: int, data: bytes) -> str:
    return _text(data, 0) if kind == PTR else str(ipaddress.ip_address(data))


def answer(packet: bytes) -> Answer:
    """Read an answer whose records are addresses and pointers, to its last byte."""
    identity, flags, asked, count, _, more = struct.unpack_from(">6H", packet)
    at, edns = 12, None
    records = []
    for _ in range(asked):
        at = _skip(packet, at) + 4
    for _ in range(count + more):
        at = _skip(packet, at)
        kind, size, _, length = struct.unpack_from(">HHIH", packet, at)
        if kind == OPT:
            edns = size
        else:
            records.append(_value(kind, packet[at + 10 : at + 10 + length]))
        at += 10 + length
    assert at == len(packet), "bytes that no record has"
    return Answer(identity, flags & 15, bool(flags & 0x0200), tuple(records), edns)
