"""Durations in Go's notation, such as `1m30s`.

Sans-I/O.
"""

import re
from decimal import Decimal

from aiod.errors import InvalidParameterError

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9,
          "m": 60 * 10**9, "h": 3600 * 10**9}  # fmt: skip
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


def nanoseconds(text: str) -> int:
    """`text` as nanoseconds. Raises InvalidParameterError with Go's words."""
    sign = -1 if text.startswith("-") else 1
    rest = text.lstrip("+-") if text[:2] not in ("--", "++", "+-", "-+") else "x"
    if rest == "0":
        return 0
    total, position = Decimal(0), 0
    while (found := _PART.match(rest, position)) is not None:
        total += Decimal(found[1]) * _UNITS[found[2]]
        position = found.end()
    if position != len(rest) or not rest or total >= 1 << 63:
        unit = re.fullmatch(r"[0-9.]+", rest[position:])
        problem = "missing unit in duration" if unit and rest else "invalid duration"
        raise InvalidParameterError(f'time: {problem} "{text}"')
    return sign * int(total)
