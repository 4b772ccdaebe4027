"""The daemon's side of shims: their template, their files and their notices.

Owns the template process and the conversation with it, and what is read under
`/run/aiod/shims/<id>`; must not know records or what is done about an exit.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from aiod.config import Paths
from aiod.native import proc
from aiod.shim import protocol

READY_TIMEOUT = 30.0  # seconds for a template to import what shims need
SPAWN_TIMEOUT = 30.0
_END_TIMEOUT = 5.0
_LONGEST = 65536
_MOST_NOTICES = 256

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class SpawnError(Exception):
    """No container came of it; `kind` is "not-found", "not-executable" or empty."""

    def __init__(self, step: str, errno: int, message: str, kind: str = "") -> None:
        super().__init__(f"{step}: {message}")
        self.step, self.errno, self.message, self.kind = step, errno, message, kind


@dataclass(frozen=True, slots=True)
class Spawned:
    """A running container: its shim and its init, each by pid and start time."""

    shim_pid: int
    shim_start: int
    init_pid: int
    init_start: int
    started_at_ns: int


@dataclass(frozen=True, slots=True)
class ShimFiles:
    """What a run directory says; a missing or damaged file is None, and named in `problems`."""

    shim: protocol.ShimState | None
    init: protocol.InitState | None
    exit: protocol.ExitRecord | None
    exit_damaged: bool
    problems: tuple[str, ...]


def read_state(directory: Path) -> ShimFiles:
    """Read a shim's files; blocking, and raises nothing for what is wrong with them."""
    problems: list[str] = []

    def read(name: str, kind: type[_Struct]) -> _Struct | None:
        try:
            return protocol.read_struct(directory / name, kind)
        except protocol.DamagedFileError as error:
            problems.append(str(error))
            return None

    shim = read(protocol.SHIM_FILE, protocol.ShimState)
    init = read(protocol.INIT_FILE, protocol.InitState)
    before = len(problems)
    ended = read(protocol.EXIT_FILE, protocol.ExitRecord)
    return ShimFiles(shim, init, ended, len(problems) > before, tuple(problems))


def release(pid: int, start: int) -> bool:
    """Tell a shim that its exit has been taken over; False if it is gone already."""
    return proc.send_signal(pid, start, signal.SIGTERM)


class ShimTemplate:
    """The process that shims are forked from; started again when it is gone."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._sending = asyncio.Lock()

    async def start(self) -> None:
        """Start the process and wait until it is ready. Raises OSError or TimeoutError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            try:
                # The dashes are room for the title that each shim gives itself.
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", "aiod.shim.zygote", str(theirs.fileno()), "-" * 120,
                    pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL,
                )  # fmt: skip
            except BaseException:
                ours.close()
                raise
        self._control = ours
        async with asyncio.timeout(READY_TIMEOUT):
            if not await asyncio.get_running_loop().sock_recv(ours, 64):
                raise ConnectionResetError("the shim template ended as it started")

    @property
    def pid(self) -> int | None:
        """The template's; None while there is none."""
        return None if self._process is None else self._process.pid

    async def close(self) -> None:
        """End the template; shims go on."""
        if self._control is not None:
            self._control.close()
            self._control = None
        process, self._process = self._process, None
        if process is not None:
            try:
                async with asyncio.timeout(_END_TIMEOUT):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    async def spawn(self, directory: Path, *, timeout: float = SPAWN_TIMEOUT) -> Spawned:
        """Have the container described in `directory` made and started.

        Raises SpawnError; then nothing of it is left but the directory.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            ours.setblocking(False)
            with theirs:
                await self._request(os.fsencode(directory), theirs)
            try:
                async with asyncio.timeout(timeout):
                    reply = await self._reply(ours)
            except TimeoutError as error:
                raise SpawnError("spawn", 110, f"no answer in {timeout:.0f} s") from error
        if reply.step:
            raise SpawnError(reply.step, reply.errno, reply.message, reply.kind)
        return Spawned(
            reply.shim_pid, reply.shim_start, reply.init_pid, reply.init_start,
            reply.started_at_ns,
        )  # fmt: skip

    @staticmethod
    async def _reply(ours: socket.socket) -> protocol.SpawnReply:
        """A shim's answer; a shim that refuses has ended when this returns."""
        loop = asyncio.get_running_loop()
        data = await loop.sock_recv(ours, _LONGEST)
        if not data:
            raise SpawnError("spawn", 0, "the shim ended unexpectedly; see its shim.log")
        reply = msgspec.json.decode(data, type=protocol.SpawnReply)
        if reply.step:
            await loop.sock_recv(ours, 1)
        return reply

    async def _request(self, message: bytes, reply: socket.socket) -> None:
        async with self._sending:
            for attempt in range(2):
                if self._control is None or self._gone():
                    await self.close()
                    await self.start()
                assert self._control is not None
                try:
                    await self._send(self._control, message, reply.fileno())
                except (BrokenPipeError, ConnectionResetError) as error:
                    if attempt:
                        raise SpawnError("spawn", error.errno or 0, str(error)) from error
                    await self.close()
                else:
                    return

    def _gone(self) -> bool:
        return self._process is None or self._process.returncode is not None

    @staticmethod
    async def _send(control: socket.socket, message: bytes, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                socket.send_fds(control, [message], [descriptor])
            except BlockingIOError:
                room = asyncio.Event()
                loop.add_writer(control, room.set)
                try:
                    await room.wait()
                finally:
                    loop.remove_writer(control)
            else:
                return


class ExitListener:
    """Receives shims' notices; each is a hint to look at the files, and may be lost."""

    def __init__(self, path: Path, told: Callable[[protocol.ExitNotice], None]) -> None:
        self._path = path
        self._told = told
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Bind the socket in the place of an earlier daemon's. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        made.bind(str(self._path))
        self._socket = made
        asyncio.get_running_loop().add_reader(made, self._read)

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        assert self._socket is not None
        for _ in range(_MOST_NOTICES):
            try:
                data = self._socket.recv(_LONGEST)
            except BlockingIOError:
                return
            with contextlib.suppress(msgspec.MsgspecError):
                self._told(msgspec.json.decode(data, type=protocol.ExitNotice))
