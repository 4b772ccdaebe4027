"""The files in which a shim keeps how its container's execs ended.

Owns their directory and its bound; must not know processes.
"""

import contextlib
import os
import re
from collections import deque
from pathlib import Path

from aiod.native.errors import NativeError
from aiod.shim import protocol

KEPT = 256
"""Ended execs whose files stay; older ones were long taken over by a daemon, without which no
exec is made."""

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,127}")


def check_id(exec_id: str) -> None:
    """Raises NativeError for what is no name of a file."""
    if not _ID.fullmatch(exec_id):
        raise NativeError("exec", 22, f"invalid exec id {exec_id!r}")


class ExecFiles:
    """`execs/<exec id>.json` of one shim."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ended: deque[str] = deque()

    def _path(self, exec_id: str) -> Path:
        return self._directory / f"{exec_id}.json"

    def write(self, state: protocol.ExecState) -> None:
        """Put on disk what is known of one. Raises OSError."""
        self._directory.mkdir(exist_ok=True)
        protocol.write_struct(self._path(state.exec_id), state)
        if state.exit_code is None:
            return
        self._ended.append(state.exec_id)
        while len(self._ended) > KEPT:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(self._ended.popleft()))

    def read(self, exec_id: str) -> protocol.ExecState | None:
        """What is on disk of one; None for none. Raises DamagedFileError, NativeError."""
        check_id(exec_id)
        return protocol.read_struct(self._path(exec_id), protocol.ExecState)
