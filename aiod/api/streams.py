"""Which of the two stream formats an answer has, and how log lines are put into it.

Must not know the routes or where lines come from.
"""

from aiod.api.history import conduct
from aiod.api.versions import Version
from aiod.wire import frames
from aiod.wire.times import rfc3339_fixed

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


def content_type(version: Version, tty: bool) -> str:
    """The media type; before 1.42 both formats bore the same name."""
    return RAW if tty or not conduct.TOLD_APART.holds(version) else MULTIPLEXED


def log_line(stream: int, data: bytes, time_ns: int | None, framed: bool) -> bytes:
    """One entry, with its time in front if `time_ns` is given."""
    if time_ns is not None:
        data = rfc3339_fixed(time_ns).encode() + b" " + data
    return frames.encode(stream, data) if framed else data
