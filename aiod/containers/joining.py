"""Joins clients to containers' streams, and tells terminals their size.

Must not know HTTP, nor how a shim passes bytes on.
"""

from pathlib import Path

from aiod.config import Paths
from aiod.containers.entries import RUNNING, Directory, Entry
from aiod.containers.happenings import event
from aiod.containers.looking import Looking
from aiod.containers.options import AttachOptions, LogOptions
from aiod.containers.streams import Attachment
from aiod.errors import ConflictError, InternalError
from aiod.store.events import EventLog
from aiod.store.records import Status
from aiod.tasks.shim_calls import ShimClient
from aiod.tasks.shim_client import SpawnError


class Joiner:
    """Attach, detach, resize."""

    def __init__(
        self, paths: Paths, events: EventLog, directory: Directory, looking: Looking
    ) -> None:
        self._paths = paths
        self._events = events
        self._directory = directory
        self._looking = looking

    async def attach(self, reference: str, options: AttachOptions) -> Attachment:
        """Join a client; to one that does not run yet, from its start on."""
        entry = self._directory.find(reference)
        past = None
        if options.logs:
            wanted = LogOptions(stdout=options.stdout, stderr=options.stderr)
            past = await self._looking.logs(reference, wanted)
        made = Attachment(
            stdin=options.stdin, stdout=options.stdout, stderr=options.stderr,
            past=past, stream=options.stream,
            left=entry.no_longer_pending,
        )  # fmt: skip
        if not options.stream:
            return made
        try:
            await self._join(entry, made)
            await self._events.append((event(entry.record, "attach"),))
        except BaseException:
            await made.leave()
            raise
        return made

    async def _join(self, entry: Entry, made: Attachment) -> None:
        """Now, or at the start: a verb that is under way decides which it is."""
        if entry.record.state.status is not Status.RUNNING:
            async with entry.verb:
                if entry.record.state.status not in RUNNING:
                    entry.pending.append(made)
                    return
        if entry.record.state.status is Status.PAUSED:
            raise ConflictError(
                "cannot attach to a paused container, unpause the container before attach"
            )
        try:
            await made.bind(ShimClient(self._paths.shim(entry.record.id)))
            entry.join(made)
        except OSError as error:
            raise ConflictError(f"container {entry.record.id} is not running") from error

    async def detached(self, reference: str) -> None:
        """A client left by its keys."""
        entry = self._directory.find(reference)
        await self._events.append((event(entry.record, "detach"),))

    async def resize(self, reference: str, width: int, height: int) -> None:
        """Tell the terminal its size."""
        entry = self._directory.find(reference)
        if entry.record.state.status not in RUNNING:
            raise ConflictError(f"container {entry.record.id} is not running")
        await resize(self._paths.shim(entry.record.id), width, height)
        told = event(entry.record, "resize", height=str(height), width=str(width))
        await self._events.append((told,))


async def resize(run: Path, width: int, height: int, exec_id: str = "") -> None:
    """Tell the terminal of a process its size; `run` is its shim's directory."""
    client = ShimClient(run)
    try:
        await client.resize(width, height, exec_id)
    except (SpawnError, OSError) as error:
        raise InternalError(f"resize: {error}") from error
    finally:
        client.close()
