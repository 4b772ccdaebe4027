"""Signals and sizes as users write them.

Pure; must not know where they are used.
"""

import re
import signal

from aiod.errors import InvalidParameterError

_NUMBERS = {found.name.removeprefix("SIG"): int(found) for found in signal.Signals}

_REAL_TIME = re.compile(r"RT(?:MIN(?:\+(\d{1,2}))?|MAX(?:-(\d{1,2}))?)\Z")
_RTMIN, _RTMAX = 34, 64  # signal(7): glibc's, which Docker's names count from


def signal_number(text: str) -> int:
    """The number of `SIGTERM`, `TERM`, `SIGRTMIN+3` or `15`. Raises InvalidParameterError."""
    name = text.upper().removeprefix("SIG")
    if re.fullmatch("[0-9]{1,4}", text):
        number = int(text)
    elif found := _REAL_TIME.match(name):
        offset = int(found[1] or 0)
        number = _RTMAX - int(found[2] or 0) if name.startswith("RTMAX") else _RTMIN + offset
        number = number if number >= _RTMIN else 0
    else:
        number = _NUMBERS.get(name, 0)
    if not 0 < number <= _RTMAX:
        raise InvalidParameterError(f"invalid signal: {text}")
    return number


def size_of(text: str) -> int:
    """Bytes of `10m`, `1g` or `4096`; 0 for none. Raises InvalidParameterError."""
    units = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    if not text:
        return 0
    found = re.fullmatch(r"([0-9]{1,15})([kmg]?)i?b?", text.lower())
    if found is None:
        raise InvalidParameterError(f"invalid size: '{text}'")
    return int(found[1]) * units[found[2]]
