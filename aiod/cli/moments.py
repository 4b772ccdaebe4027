"""Times as options say them (`10m`, RFC 3339, seconds) and as tables show them (`2 hours ago`).

Pure. Must not know whose times they are.
"""

import re
from datetime import UTC, datetime, timedelta

import click

from aiod.wire.times import span

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9,
          "h": 3600 * 10**9}  # fmt: skip
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = re.compile(r"[0-9]+(\.[0-9]{1,9})?")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d(?:T\d\d(?::\d\d(?::\d\d)?)?)?)(\.\d+)?(Z|[+-]\d\d:\d\d)?")


def when(text: str, now_ns: int) -> str:
    """A `--since` or `--until` as the API takes it: seconds with nine decimals.

    A span counts back from now; a time without a zone is local. BadParameter for the rest.
    """
    if _SECONDS.fullmatch(text):
        return text
    length = duration(text)
    if length is not None:
        return _seconds(now_ns - length)
    return _seconds(_stamp(text))


def duration(text: str) -> int | None:
    """Nanoseconds of a span such as `1h30m`; None if it is none."""
    if not text or _PART.sub("", text):
        return None
    return int(sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(text)))


def _stamp(text: str) -> int:
    found = _STAMP.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no time: use 10m, 2025-01-31T12:00:00Z or seconds")
    base = found[1] if "T" not in found[1] or ":" in found[1] else f"{found[1]}:00"
    try:
        moment = datetime.fromisoformat(base + (found[3] or "").replace("Z", "+00:00"))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no time: {error}") from None
    whole = (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return whole * 10**9 + int((found[2] or ".0")[1:10].ljust(9, "0"))


def _seconds(time_ns: int) -> str:
    seconds, rest = divmod(max(time_ns, 0), 10**9)
    return f"{seconds}.{rest:09d}"


def ago(seconds: int, now_ns: int) -> str:
    """How long ago, in words; `N/A` for no time."""
    if seconds <= 0:
        return "N/A"
    return f"{span(max(0, now_ns - seconds * 10**9))} ago"


def local(time_ns: int) -> str:
    """A moment in the local zone, RFC 3339 with nanoseconds."""
    seconds, rest = divmod(time_ns, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    zone = moment.strftime("%z")
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}{zone[:3]}:{zone[3:]}"
