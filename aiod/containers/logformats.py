"""The formats of a container's log: bytes of a file to entries, whole records only.

Owns the shapes that the shim writes (`shimlog.c`); must not know files' names nor rotation. A
damaged record hides no other.
"""

import calendar
import functools
import os
import time
from typing import Protocol

import msgspec

_STREAMS = {"stdout": 1, "stderr": 2}
_BLOCK = 65536
_LONGEST_RECORD = 1 << 20
"""More than any record: a piece of a line has at most 16 KiB, each byte escaped to 6."""
_LOCAL_FIXED, _LOCAL_FRAME = 10, 8
_LOCAL_KINDS = {(stream, partial) for stream in (1, 2) for partial in (0, 1)}


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """One line, or a part of a long one, with its newline if it has one; `stream` is 1 or 2."""

    stream: int
    time_ns: int
    data: bytes


class Format(Protocol):
    """How records lie in a file."""

    def split(self, data: bytes) -> tuple[list[LogEntry], bytes]:
        """The entries of the whole records at the beginning of `data`, and the rest."""

    def tail(self, descriptor: int, size: int, count: int) -> tuple[int, int]:
        """Where the last `count` whole records before `size` begin, and how many they are."""


class _Line(msgspec.Struct, frozen=True):
    log: str
    stream: str
    time: str


@functools.lru_cache(maxsize=64)
def _seconds(text: str) -> int:
    """Whole seconds, in nanoseconds."""
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S")) * 10**9


def _fraction(text: str) -> int:
    """Nanoseconds of up to nine digits; the shim writes all of them."""
    digits = text[:-1]
    return int(digits if len(digits) == 9 else digits.rstrip("Z").ljust(9, "0")[:9])


_LINES = msgspec.json.Decoder(_Line)


def parse_line(line: bytes) -> LogEntry | None:
    """The entry in a line of a json-file log; None for a damaged one."""
    try:
        found = _LINES.decode(line)
        time_ns = _seconds(found.time[:19]) + _fraction(found.time[20:])
        return LogEntry(_STREAMS[found.stream], time_ns, found.log.encode())
    except (msgspec.MsgspecError, ValueError, KeyError):
        return None


class JsonLines:
    """json-file: a JSON object in each line."""

    def split(self, data: bytes) -> tuple[list[LogEntry], bytes]:
        """See Format."""
        *lines, rest = data.split(b"\n")
        entries = [entry for line in lines if (entry := parse_line(line)) is not None]
        return entries, rest if len(rest) <= _LONGEST_RECORD else b""

    def tail(self, descriptor: int, size: int, count: int) -> tuple[int, int]:
        """See Format. Counts newlines from the end."""
        found, end = 0, size
        while end > 0:
            begin = max(0, end - _BLOCK)
            block = os.pread(descriptor, end - begin, begin)
            place = len(block)
            while (place := block.rfind(b"\n", 0, place)) >= 0:
                if found == count:
                    return begin + place + 1, count
                found += 1
            end = begin
        return 0, found


class LocalFrames:
    """local: length, stream, flags, time, bytes, length again; numbers are big-endian."""

    def split(self, data: bytes) -> tuple[list[LogEntry], bytes]:
        """See Format. What is no frame is passed over, a byte at a time."""
        entries, place = [], 0
        while len(data) - place >= _LOCAL_FRAME + _LOCAL_FIXED:
            length = int.from_bytes(data[place : place + 4], "big")
            end = place + _LOCAL_FRAME + length
            kind = (data[place + 4], data[place + 5])
            sane = _LOCAL_FIXED <= length <= _LONGEST_RECORD and kind in _LOCAL_KINDS
            if sane and end > len(data):
                break
            if not sane or data[end - 4 : end] != data[place : place + 4]:
                place += 1
                continue
            entries.append(_local_entry(data[place + 4 : end - 4]))
            place = end
        return entries, data[place:]

    def tail(self, descriptor: int, size: int, count: int) -> tuple[int, int]:
        """See Format. Walks by the lengths at the records' ends."""
        place, found = self._last_end(descriptor, size), 0
        while found < count and place >= _LOCAL_FRAME + _LOCAL_FIXED:
            length = int.from_bytes(os.pread(descriptor, 4, place - 4), "big")
            begin = place - _LOCAL_FRAME - length
            if begin < 0 or os.pread(descriptor, 4, begin) != length.to_bytes(4, "big"):
                return 0, found  # damaged before this: the reader finds what is whole
            place, found = begin, found + 1
        return place, found

    @staticmethod
    def _last_end(descriptor: int, size: int) -> int:
        """The end of the last whole record; a writer may be in the middle of another."""
        for end in range(size, max(0, size - _LONGEST_RECORD), -1):
            length = int.from_bytes(os.pread(descriptor, 4, end - 4), "big") if end >= 4 else 0
            begin = end - _LOCAL_FRAME - length
            whole = _LOCAL_FIXED <= length <= _LONGEST_RECORD and begin >= 0
            if whole and os.pread(descriptor, 4, begin) == length.to_bytes(4, "big"):
                return end
        return 0


def _local_entry(record: bytes) -> LogEntry:
    stream, partial, when = record[0], record[1], int.from_bytes(record[2:10], "big")
    return LogEntry(stream, when, record[10:] + (b"" if partial else b"\n"))


FORMATS: dict[str, Format] = {"json-file": JsonLines(), "local": LocalFrames()}
"""By the name of the log driver; what is not here cannot be read."""
