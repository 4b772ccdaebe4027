"""The running side of containers, put together: each topic has a module of its own.

Owns who knows whom: `starting`, `ending`, `stopping`, `restarting` and `reconcile` change a
container through one `ledger`, by the table in `states`. Must not know HTTP. Nothing here is
global: containers never wait for one another.
"""

import contextlib
from collections.abc import Iterable

from aiod.config import DaemonConfig, Paths
from aiod.containers.ending import Endings
from aiod.containers.entries import Directory, Entry
from aiod.containers.hooks import Hooks
from aiod.containers.ledger import Ledger
from aiod.containers.naming import Naming
from aiod.containers.owned import OwnedTasks
from aiod.containers.placing import Placer
from aiod.containers.preparing import Preparer
from aiod.containers.reconcile import Reconciler
from aiod.containers.remnants import Remnants
from aiod.containers.restarting import Restarter
from aiod.containers.roots import Roots
from aiod.containers.starting import Starter, Watchers
from aiod.containers.states import Move
from aiod.containers.stopping import Stopper
from aiod.errors import NotModifiedError
from aiod.networks.service import NetworkService
from aiod.shim import protocol
from aiod.store.containers import ContainerRepository
from aiod.store.records import ContainerRecord, Status
from aiod.tasks.shim_client import ExitListener, ShimTemplate
from aiod.volumes.active import Active


class Lifecycle:
    """The running side of all containers of one daemon."""

    def __init__(
        self,
        paths: Paths,
        config: DaemonConfig,
        repository: ContainerRepository,
        roots: Roots,
        volumes: Active,
        template: ShimTemplate,
        directory: Directory,
        networks: NetworkService,
    ) -> None:
        self._directory = directory
        self._listener = ExitListener(paths.exits_socket, self._noticed)
        self.hooks, self.tasks, self.ledger = Hooks(), OwnedTasks(), Ledger(repository)
        self.remnants = Remnants(paths, config)
        self.preparer = Preparer(paths, config, roots)
        self.naming = Naming(paths, directory, networks)
        self.placer = Placer(directory, networks, self.naming)
        self._starter = Starter(
            paths, self.ledger, self.preparer, self.placer, volumes, template, self.remnants
        )
        restarter = Restarter(self.ledger, self.tasks, self._starter.start, self.placer.needed)
        endings = Endings(
            paths,
            self.ledger,
            self.tasks,
            self.remnants,
            restarter,
            self.placer,
            volumes,
            self.hooks,
        )
        self._starter.watchers = Watchers(endings.watch, endings.remove_if_passing)
        self.stopper = Stopper(self.ledger, self.remnants, restarter)
        self._reconciler = Reconciler(
            paths, directory, self.ledger, self.tasks, self.remnants, endings,
            self._starter, self.stopper, restarter, self.placer, self.hooks,
        )  # fmt: skip

    async def recover(self, records: Iterable[ContainerRecord], broken: set[str]) -> None:
        """Take up every container as the kernel says it is, and sweep what has no owner."""
        self._listener.start()
        await self._reconciler.recover(records, broken)

    async def close(self) -> None:
        """Stop watching; containers go on, and what was being done the next daemon finishes."""
        self._listener.close()
        await self.tasks.close()

    def _noticed(self, notice: protocol.ExitNotice) -> None:
        entry = self._directory.by_id.get(notice.id)
        if entry is None:
            return
        if notice.exec_id:
            self.exec_noticed(notice.id, notice.exec_id)
        else:
            entry.noticed.set()

    def exec_noticed(self, container_id: str, exec_id: str) -> None:
        """An exec may have ended: its file says whether and how."""
        self.tasks.own(self._look_at_exec(container_id, exec_id), f"look at exec {exec_id[:12]}")

    async def _look_at_exec(self, container_id: str, exec_id: str) -> None:
        await self.hooks.exec_noticed(container_id, exec_id)

    async def start(self, entry: Entry) -> None:
        """Start it. Raises NotModifiedError if it runs, ConflictError if it cannot."""
        await self.tasks.whole(self._start(entry))

    async def _start(self, entry: Entry) -> None:
        async with entry.claimed():
            if entry.record.state.status is Status.RESTARTING:
                raise NotModifiedError("container will be started again")
            await self._starter.start(entry)

    async def stop(self, entry: Entry, timeout: int | None, number: int | None) -> None:
        """End it: its stop signal, then SIGKILL. Raises NotModifiedError if it is not running."""
        await self.tasks.whole(self._stop(entry, timeout, number))

    async def _stop(self, entry: Entry, timeout: int | None, number: int | None) -> None:
        async with entry.claimed():
            await self.stopper.stop(entry, timeout, number)

    async def restart(self, entry: Entry, timeout: int | None, number: int | None) -> None:
        """Stop, if it runs, and start."""
        await self.tasks.whole(self._restart(entry, timeout, number))

    async def _restart(self, entry: Entry, timeout: int | None, number: int | None) -> None:
        async with entry.claimed():
            with contextlib.suppress(NotModifiedError):
                await self.stopper.stop(entry, timeout, number)
            entry.refuse_doomed()
            await self._starter.start(entry)
            await self.ledger.change(entry, Move.NOTE, ("restart",))

    async def kill(self, entry: Entry, number: int, reference: str) -> None:
        """Signal the init. Raises ConflictError if there is none."""
        await self.stopper.kill(entry, number, reference)
