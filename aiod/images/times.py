"""RFC 3339 times of image configs, to the nanosecond. Sans-I/O."""

import re
from datetime import UTC, datetime

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?)?(Z|z|[+-]\d\d:\d\d)?", re.ASCII
)
NEVER = "0001-01-01T00:00:00Z"


def parse_time(text: str) -> int | None:
    """Nanoseconds since the epoch; None for what is no time. A date alone is its midnight."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    zone = (found[4] or "Z").upper().replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00:00'}{zone}")
        seconds = round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None
    return seconds * 10**9 + int((found[3] or "").ljust(9, "0"))


def format_time(time_ns: int) -> str:
    """As Go prints a time in UTC: no trailing zeros in the fraction."""
    seconds, fraction = divmod(time_ns, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    digits = f"{fraction:09d}".rstrip("0")
    return f"{text}.{digits}Z" if digits else f"{text}Z"
