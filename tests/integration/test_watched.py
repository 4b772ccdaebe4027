"""The watch over the daemon's event loop sees what it is there for."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import watched

_SCRIPT = """
import asyncio, os
from tests.support import watched
watched.activate()
async def main():
    {call}
asyncio.run(main())
"""


def _log_of(call: str, path: Path) -> Path:
    log = path / "log"
    command = [sys.executable, "-c", _SCRIPT.format(call=call)]
    with log.open("wb") as file:
        subprocess.run(command, stderr=file, check=True, timeout=60)
    return log


def test_blocking_call_is_told(tmp_path: Path) -> None:
    log = _log_of("os.listdir('/')", tmp_path)
    with pytest.raises(AssertionError, match=r"BLOCKED os\.listdir"):
        watched.assert_never_blocked(log)


def test_call_in_a_thread_is_not(tmp_path: Path) -> None:
    watched.assert_never_blocked(_log_of("await asyncio.to_thread(os.listdir, '/')", tmp_path))
