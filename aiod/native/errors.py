"""The one exception of the runtime: which step failed, and why."""

import os


class NativeError(Exception):
    """A step of setting up or ending a container failed.

    `step` names it as a user would recognise it (`mount "proc" on "/proc"`), `errno` is the
    system's number (0 where there is none), `kind` is "not-found" or "not-executable" when it
    was the container's own command that could not be executed, else empty.
    """

    def __init__(self, step: str, errno: int = 0, message: str = "", kind: str = "") -> None:
        self.step = step
        self.errno = errno
        self.message = message or (os.strerror(errno).lower() if errno else "failed")
        self.kind = kind
        super().__init__(f"{step}: {self.message}")
