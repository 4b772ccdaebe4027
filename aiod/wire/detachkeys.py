"""The key sequence that detaches a client from a terminal.

Sans-I/O: typed bytes in, bytes for the container out. Syntax as in the `detachKeys`
parameter of the engine API 1.51: single characters or `ctrl-<value>`, value one of
`a-z @ ^ [ , _ \\ ]`, comma separated. Must not know the stream it guards.
"""

from dataclasses import dataclass

from aiod.errors import InvalidParameterError

DEFAULT = b"\x10\x11"  # ctrl-p, ctrl-q

_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse(text: str) -> bytes:
    """The bytes of a sequence, `DEFAULT` for none; InvalidParameterError when malformed."""
    if not text:
        return DEFAULT
    return bytes(_key(part) for part in text.split(","))


def _key(part: str) -> int:
    if len(part) == 1 and part.isascii():
        return ord(part)
    prefix, _, value = part.partition("-")
    if prefix == "ctrl" and len(value) == 1:
        if "a" <= value <= "z":
            return ord(value) - ord("a") + 1
        if value in _CONTROL:
            return _CONTROL[value]
    raise InvalidParameterError(
        f"Invalid detach keys ({part}) provided: unknown character {part!r}"
    )


@dataclass(frozen=True, slots=True)
class Typed:
    """What to pass on, and whether the sequence was completed (the rest is dropped)."""

    data: bytes
    detached: bool


class Detector:
    """Holds back what may be the start of the sequence until the next byte decides."""

    def __init__(self, keys: bytes = DEFAULT) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> Typed:
        """Pass on `data` but for a (possibly partial) sequence at its end."""
        out = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return Typed(bytes(out), detached=True)
                continue
            out += self._keys[: self._matched]
            self._matched = int(byte == self._keys[0])
            if not self._matched:
                out.append(byte)
        return Typed(bytes(out), detached=False)

    def flush(self) -> bytes:
        """What is held back, at the end of input."""
        held, self._matched = self._keys[: self._matched], 0
        return bytes(held)
