"""A shim made by the real template, with no daemon: a container over busybox, and calls to it."""

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from aiod.config import Paths
from aiod.native import cgroups, spec
from aiod.shim import protocol
from aiod.shim.proto.aiod.shim.v1 import ShimStub
from aiod.tasks.shim_calls import ShimClient
from aiod.tasks.shim_client import ExitListener, ShimTemplate, Spawned, read_state, release
from tests.support import mounts
from tests.support.containers import Box
from tests.support.engine import eventually
from tests.support.processes import Identity, command_line, running_pids, send, wait_gone


@dataclass
class Made:
    """One container and its shim."""

    directory: Path
    log: Path
    spawned: Spawned
    client: ShimClient
    noticed: asyncio.Event

    @property
    def stub(self) -> ShimStub:
        """The calls as they are in the protocol."""
        return self.client.stub

    @property
    def shim(self) -> Identity:
        """The shim's process."""
        return Identity(self.spawned.shim_pid, self.spawned.shim_start)

    @property
    def init(self) -> Identity:
        """The container's first process."""
        return Identity(self.spawned.init_pid, self.spawned.init_start)

    async def exit(self) -> protocol.ExitRecord:
        """Its exit record, when it is there."""
        async with asyncio.timeout(30):
            await self.noticed.wait()
        found = read_state(self.directory).exit
        assert found is not None, "told before it was on disk"
        return found


class Shims:
    """A template, and the containers made from it in `base`."""

    def __init__(self, base: Path, lower: Path) -> None:
        self.base = base
        self.lower = lower
        self.parent = f"/aiod-test-{os.getpid()}-{base.name}"
        self.template = ShimTemplate(Paths(base, base))
        self.notices: list[protocol.ExitNotice] = []
        self._listener = ExitListener(base / "exits", self._told)
        self._ended: defaultdict[tuple[str, str], asyncio.Event] = defaultdict(asyncio.Event)
        self._count = 0
        self._made: list[Made] = []

    async def open(self) -> None:
        """Have the template ready, and listen for exits."""
        self._listener.start()
        await self.template.start()

    def _told(self, notice: protocol.ExitNotice) -> None:
        self.notices.append(notice)
        self._ended[notice.id, notice.exec_id].set()

    async def exec_ended(self, container: str, exec_id: str) -> None:
        """Wait for the notice that an exec has ended."""
        async with asyncio.timeout(30):
            await self._ended[container, exec_id].wait()

    def describe(
        self, *command: str, resources: spec.Resources | None = None, **request: object
    ) -> Path:
        """Write the bundle and the request of one container; returns the directory."""
        self._count += 1
        base = self.base / str(self._count)
        base.mkdir()
        container = Box(base, (self.lower,)).describe(*command)
        if resources is not None:
            linux = msgspec.structs.replace(container.linux, resources=resources)
            container = msgspec.structs.replace(container, linux=linux)
        (base / protocol.CONFIG_FILE).write_bytes(spec.encode(container))
        asked: dict[str, object] = {"start": True, "log": {}, **request}
        log = {"driver": "json-file", "path": str(base / "log"), **asked.pop("log")}  # type: ignore[dict-item]
        wanted = protocol.SpawnRequest(
            id=f"c{self._count}",
            directory=str(base),
            cgroup_path=f"{self.parent}/{self._count}",
            shim_cgroup=f"{self.parent}/shims",
            exits_socket=str(self.base / "exits"),
            log=msgspec.convert(log, protocol.LogConfig),
            **asked,  # type: ignore[arg-type]
        )
        protocol.write_struct(base / protocol.REQUEST_FILE, wanted)
        return base

    async def make(self, *command: str, **options: object) -> Made:
        """Make a container that runs `command`. Raises SpawnError."""
        return await self.spawn(self.describe(*command, **options))  # type: ignore[arg-type]

    async def spawn(self, base: Path) -> Made:
        """Make the container described in `base`, which may have been made before."""
        for name in (protocol.SOCKET_FILE, protocol.EXIT_FILE):
            (base / name).unlink(missing_ok=True)
        self._ended.pop((f"c{base.name}", ""), None)
        spawned = await self.template.spawn(base)
        made = Made(base, base / "log", spawned, ShimClient(base), self._ended[f"c{base.name}", ""])
        self._made.append(made)
        return made

    def release(self, made: Made) -> None:
        """Take its exit over: the shim ends."""
        release(made.shim.pid, made.shim.start_time)
        wait_gone(made.shim)

    def leftovers(self) -> list[str]:
        """Processes and cgroups of containers of which nothing should be left."""
        kept = {made.directory.name for made in self._made}
        numbers = {str(number) for number in range(1, self._count + 1)} - kept
        places = {str(self.base / number) for number in numbers}
        lines = (command_line(pid) for pid in running_pids())
        found = [line for line in lines if places & set(line.split())]
        for root in cgroups.detect_layout().roots():
            here = root / self.parent.strip("/")
            found += [str(here / number) for number in numbers if (here / number).exists()]
        return found

    async def close(self) -> None:
        """End everything that was made."""
        for made in self._made:
            made.client.close()
            send(made.init)
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                if made.shim.alive():
                    await made.exit()
            self.release(made)
        await self.template.close()
        self._listener.close()
        cgroups.Cgroup(cgroups.detect_layout(), self.parent).remove()
        # A shim is in the shims' cgroup of every hierarchy, those without controllers too.
        eventually(lambda: mounts.remove_cgroups(self.parent), lambda resisting: not resisting)


@contextlib.asynccontextmanager
async def shims_in(base: Path, lower: Path) -> AsyncIterator[Shims]:
    """Shims that are ended whatever happens."""
    shims = Shims(base, lower)
    try:
        await shims.open()
        yield shims
    finally:
        await shims.close()
