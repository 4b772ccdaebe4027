"""Times and spans in Docker's words.

Pure functions; must not know what the times are of.
"""

import functools
from datetime import UTC, datetime

ZERO = "0001-01-01T00:00:00Z"

_SECOND = 10**9
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_UNITS = ((3600 * 10**9, "h"), (60 * 10**9, "m"))


def rfc3339(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, trailing zeros dropped; Go's zero time for 0."""
    if nanoseconds == 0:
        return ZERO
    seconds, rest = divmod(nanoseconds, _SECOND)
    moment = _moment(seconds)
    fraction = f"{rest:09d}".rstrip("0")
    return f"{moment}.{fraction}Z" if fraction else f"{moment}Z"


def rfc3339_fixed(nanoseconds: int) -> str:
    """RFC 3339 with always nine decimals, as in front of log lines."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    return f"{_moment(seconds)}.{rest:09d}Z"


@functools.lru_cache(1024)
def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def span(nanoseconds: int) -> str:
    """A span as the list of containers words it: `5 seconds`, `About a minute`, `3 hours`."""
    seconds = nanoseconds // _SECOND
    if seconds < 1:
        return "Less than a second"
    if seconds == 1:
        return "1 second"
    if seconds < _MINUTE:
        return f"{seconds} seconds"
    minutes = seconds // _MINUTE
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    return _long_span(seconds)


def _long_span(seconds: int) -> str:
    hours = (seconds + _HOUR // 2) // _HOUR
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    days = hours // 24
    for limit, divisor, word in ((14, 1, "days"), (60, 7, "weeks"), (730, 30, "months")):
        if days < limit:
            return f"{days // divisor} {word}"
    return f"{seconds // _DAY // 365} years"


def duration(nanoseconds: int) -> str:
    """A duration as Go writes it: `1m30s`, `1.5ms`."""
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 10**9:
        for unit, name in ((10**6, "ms"), (10**3, "µs"), (1, "ns")):
            if nanoseconds >= unit:
                return _decimal(nanoseconds, unit) + name
    text = ""
    for unit, name in _UNITS:
        if nanoseconds >= unit or text:
            text += f"{nanoseconds // unit}{name}"
            nanoseconds %= unit
    return text + _decimal(nanoseconds, 10**9) + "s"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)
