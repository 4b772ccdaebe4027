"""What the streams of a container are asked for. Must not know HTTP or where output is kept."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Which log entries; times are nanoseconds since the epoch, `tail` None for all."""

    stdout: bool
    stderr: bool
    follow: bool = False
    tail: int | None = None
    since_ns: int | None = None
    until_ns: int | None = None


@dataclass(frozen=True, slots=True)
class AttachOptions:
    """Which streams are joined, and whether what was logged before comes first."""

    stdin: bool
    stdout: bool
    stderr: bool
    logs: bool
    stream: bool
