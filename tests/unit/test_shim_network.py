"""A shim is told that its network's files have changed: what is said of it, and when it is gone."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiod.native import proc
from aiod.native.errors import NativeError
from aiod.native.network import texts
from aiod.tasks import shim_network

# Answers each SIGHUP with the next line of what it is given.
_SHIM = """
import os, signal, sys
directory, *outcomes = sys.argv[1:]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
print("ready", flush=True)
for outcome in outcomes:
    signal.sigwait({signal.SIGHUP})
    with open(f"{directory}/new", "w") as file:
        file.write(outcome + "\\n")
    os.rename(f"{directory}/new", f"{directory}/net")
signal.sigwait({signal.SIGHUP})
"""


class Peer:
    """A process that answers as a shim does."""

    def __init__(self, directory: Path, *outcomes: str) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SHIM, str(directory), *outcomes], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.start_time = proc.start_time(self.process.pid)

    async def reload(self) -> None:
        await shim_network.reload(self.directory, self.process.pid, self.start_time)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    made = Peer(tmp_path, "0 ", "98 bind tcp 0.0.0.0:80")
    yield made
    made.close()


async def test_how_it_went(peer: Peer) -> None:
    await peer.reload()
    with pytest.raises(NativeError, match=r"bind tcp 0\.0\.0\.0:80: address already in use"):
        await peer.reload()
    (peer.directory / texts.OUTCOME_FILE).write_text("0 \n")  # of another time
    with pytest.raises(NativeError, match="find the shim"):  # it ends at the third
        await peer.reload()


async def test_another_process_of_its_number_is_left_alone(peer: Peer) -> None:
    with pytest.raises(NativeError, match="find the shim"):
        await shim_network.reload(peer.directory, peer.process.pid, peer.start_time - 1)
    peer.process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(peer.process.wait)
    with pytest.raises(NativeError, match="find the shim"):
        await peer.reload()


def test_an_outcome_is_read_back() -> None:
    assert texts.outcome("0 \n") == (0, "")
    assert texts.outcome("98 bind tcp [::]:80\n") == (98, "bind tcp [::]:80")
