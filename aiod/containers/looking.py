"""What only looks at containers: lists, waits, logs and processes.

Must not change anything, nor know HTTP.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from aiod.containers import logs, networking
from aiod.containers.entries import RUNNING, Directory, Waiter
from aiod.containers.lifecycle import Lifecycle
from aiod.containers.logformats import FORMATS
from aiod.containers.options import LogOptions
from aiod.errors import ConflictError, InternalError, InvalidParameterError
from aiod.networks import links
from aiod.store.records import ContainerRecord

_PS_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class TopResult:
    """What ps(1) says of a container's processes."""

    titles: tuple[str, ...]
    processes: tuple[tuple[str, ...], ...]


class Looking:
    """Questions about one daemon's containers."""

    def __init__(self, directory: Directory, lifecycle: Lifecycle) -> None:
        self._directory = directory
        self._lifecycle = lifecycle

    def list(self) -> "Records":
        """All records, in no order."""
        return [entry.record for entry in self._directory.by_id.values()]

    def get(self, reference: str) -> ContainerRecord:
        """One record, its links by the names that containers have now. Raises NotFoundError."""
        record = self._directory.find(reference).record
        if record.network_mode != networking.DEFAULT or not record.host.Links:
            return record
        found = []
        for link in map(links.parse, record.host.Links):
            target = self._directory.by_id.get(link.target)
            name = target.record.name if target else link.target
            found.append(f"/{name}:/{record.name}/{link.alias}")
        host = msgspec.structs.replace(record.host, Links=found)
        return msgspec.structs.replace(record, host=host)

    def open_wait(self, reference: str, condition: str) -> Waiter:
        """Register a wait; it counts from now on."""
        return self._directory.find(reference).wait(condition)

    async def logs(self, reference: str, options: LogOptions) -> AsyncGenerator[logs.Page, None]:
        """The log's entries, a page at a time. Raises InternalError if its driver has none."""
        entry = self._directory.find(reference)
        driver = entry.record.host.LogConfig.Type or "json-file"
        if driver not in FORMATS:
            raise InternalError("configured logging driver does not support reading")
        ended = entry.ended
        if entry.record.state.status not in RUNNING:
            ended = asyncio.Event()
            ended.set()
        return logs.read(Path(entry.record.log_path), options, ended, driver)

    async def top(self, reference: str, ps_args: str) -> TopResult:
        """ps(1) of the host, showing only the container's. Raises ConflictError if none run."""
        entry = self._directory.find(reference)
        if entry.record.state.status not in RUNNING:
            raise ConflictError(f"container {entry.record.id} is not running")
        pids = set(
            map(
                str,
                await asyncio.to_thread(self._lifecycle.remnants.cgroup(entry.record.id).processes),
            )
        )
        try:
            process = await asyncio.create_subprocess_exec(
                "ps", *ps_args.split(),
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except FileNotFoundError:
            raise InternalError("top runs the host's ps, and there is none: see procps") from None
        try:
            async with asyncio.timeout(_PS_SECONDS):
                out, wrong = await process.communicate()
        except TimeoutError:
            raise InternalError("ps did not answer") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            told = wrong.decode(errors="replace").strip().partition("\n")[0]
            raise InvalidParameterError(f"ps: {told}")
        return _only(out.decode(errors="replace"), pids)


Records = list[ContainerRecord]


def _only(text: str, pids: set[str]) -> TopResult:
    titles, *rows = text.splitlines() or [""]
    names = titles.split()
    if "PID" not in names:
        raise InternalError("Couldn't find PID field in ps output")
    place = names.index("PID")
    found = [tuple(row.split(None, len(names) - 1)) for row in rows]
    return TopResult(
        tuple(names), tuple(row for row in found if len(row) > place and row[place] in pids)
    )
