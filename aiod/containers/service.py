"""The verbs on containers, as the API calls them.

Owns the putting together: each topic has a module of its own, and starts, ends and recovery
are `lifecycle`'s. Must not know HTTP, SQL or system calls.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from aiod.config import DaemonConfig, Paths
from aiod.containers import admission
from aiod.containers.committing import Committer
from aiod.containers.connecting import Connector
from aiod.containers.creating import Creator
from aiod.containers.entries import RUNNING, Directory
from aiod.containers.execs import Execs
from aiod.containers.files.service import Files
from aiod.containers.happenings import event
from aiod.containers.health import HealthMonitor
from aiod.containers.joining import Joiner
from aiod.containers.lifecycle import Lifecycle
from aiod.containers.looking import Looking, TopResult
from aiod.containers.pausing import Pauser
from aiod.containers.pruning import Pruner
from aiod.containers.removing import Remover
from aiod.containers.roots import Roots
from aiod.containers.statistics import Statistics
from aiod.containers.units import signal_number
from aiod.containers.updating import Updater
from aiod.errors import ConflictError, InvalidParameterError
from aiod.images.model import ContainerUse
from aiod.images.service import ImageService
from aiod.images.snapshots.choice import Snapshotters
from aiod.networks.service import NetworkService
from aiod.store.containers import ContainerRepository
from aiod.store.events import EventLog
from aiod.store.execs import ExecRepository
from aiod.store.records import ContainerRecord
from aiod.tasks.shim_client import ShimTemplate
from aiod.volumes.service import VolumeService

_NO_NAME = "Error when allocating new name"


class ContainerService:
    """All containers of one daemon."""

    def __init__(
        self,
        paths: Paths,
        config: DaemonConfig,
        repository: ContainerRepository,
        execs: ExecRepository,
        images: ImageService,
        volumes: VolumeService,
        networks: NetworkService,
        template: ShimTemplate,
        events: EventLog,
        snapshotters: Snapshotters,
    ) -> None:
        self._repository = repository
        self._networks = networks
        self._volumes = volumes
        self._directory = directory = Directory()
        self.roots = roots = Roots(paths, images, snapshotters)
        self._lifecycle = Lifecycle(
            paths, config, repository, roots, volumes.active, template, directory, networks
        )
        looking = Looking(directory, self._lifecycle)
        pauser = Pauser(directory, self._lifecycle)
        joiner = Joiner(paths, events, directory, looking)
        self.execs = Execs(paths, execs, events, directory, self._lifecycle)
        self._remover = Remover(paths, repository, volumes, directory, self._lifecycle, self.execs)
        self._remover.forget_networks = networks.forget
        self._lifecycle.hooks.remove_ended = self._remover.remove_ended
        self._lifecycle.hooks.exec_noticed = self.execs.look
        self._lifecycle.hooks.settle_execs = self.execs.settle
        volumes.references = self._references
        volumes.unknown_references = lambda: bool(self._remover.broken)
        health = HealthMonitor(self.execs, self._lifecycle.ledger, self._lifecycle.tasks)
        self._lifecycle.hooks.run_watched = health.watch
        images.uses = self._uses
        images.stacks = self._stacks
        images.unknown_stacks = lambda: bool(self._remover.broken)
        self.list, self.get = looking.list, looking.get
        self.open_wait, self.logs, self._top = looking.open_wait, looking.logs, looking.top
        self._events = events
        self.create = Creator(paths, repository, images, networks, volumes, directory, roots).create
        self.remove = self._remover.remove
        self.files = Files(paths, directory, roots, events, volumes.active)
        self._updater = Updater(directory, self._lifecycle.ledger, self._lifecycle.remnants)
        self.update = self._updater.update
        self.commit = Committer(paths, directory, roots, images, events, pauser).commit
        self.prune = Pruner(directory, roots, events, self._remover.remove).prune
        self._connector = connector = Connector(paths, networks, directory, self._lifecycle)
        self.connect, self.disconnect = connector.connect, connector.disconnect
        self.statistics = Statistics(directory, self._lifecycle.tasks, config.cgroup_parent)
        self.pause, self.unpause = pauser.pause, pauser.unpause
        self.attach, self.detached, self.resize = joiner.attach, joiner.detached, joiner.resize

    async def recover(self) -> None:
        """Take up what runs. Called once, before anybody is served."""
        loaded = await self._repository.load_all()
        self._remover.broken = {container: name for container, name, _ in loaded.broken}
        await self.execs.load()
        await self._networks.complete(loaded.records)
        await self._lifecycle.recover(loaded.records, set(self._remover.broken))
        await self._updater.recover()
        await self._connector.settle()
        await self._volumes.active.recover(
            lambda: self._references(lambda record: record.state.status in RUNNING)
        )

    def _references(
        self, chosen: Callable[[ContainerRecord], bool] = lambda record: True
    ) -> Mapping[str, Sequence[str]]:
        """Which volumes the containers have."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for entry in self._directory.by_id.values():
            if chosen(entry.record):
                for name in {point.name for point in entry.record.mounts if point.name}:
                    found[name].append(entry.record.id)
        return found

    async def close(self) -> None:
        """Stop watching; containers go on."""
        await self._lifecycle.close()

    def _uses(self, image_id: str) -> Iterable[ContainerUse]:
        for entry in self._directory.by_id.values():
            if entry.record.image_id == image_id:
                yield ContainerUse(entry.record.id, entry.record.state.status in RUNNING)

    def _stacks(self) -> Mapping[str, Sequence[str]]:
        return {known: entry.record.layers for known, entry in self._directory.by_id.items()}

    async def start(self, reference: str) -> None:
        """Start one container."""
        await self._lifecycle.start(self._directory.find(reference))

    async def stop(self, reference: str, timeout: int | None, signal: str | None) -> None:
        """End one container."""
        number = signal_number(signal) if signal else None
        await self._lifecycle.stop(self._directory.find(reference), timeout, number)

    async def restart(self, reference: str, timeout: int | None, signal: str | None) -> None:
        """End it if it runs, and start it."""
        number = signal_number(signal) if signal else None
        await self._lifecycle.restart(self._directory.find(reference), timeout, number)

    async def kill(self, reference: str, signal: str) -> None:
        """Signal its init."""
        number = signal_number(signal)
        await self._lifecycle.kill(self._directory.find(reference), number, reference)

    async def top(self, reference: str, ps_args: str) -> TopResult:
        """Its processes, as ps(1) says them."""
        found = await self._top(reference, ps_args)
        await self._events.append((event(self.get(reference), "top"),))
        return found

    async def rename(self, reference: str, name: str) -> None:
        """Give it another name. Raises ConflictError if that is taken."""
        entry = self._directory.find(reference)
        name = name.removeprefix("/")
        if not name:
            raise InvalidParameterError("Neither old nor new names may be empty")
        try:
            admission.check_name(name)
        except InvalidParameterError as error:
            raise InvalidParameterError(f"{_NO_NAME}: {error.message}") from None
        old = entry.record.name
        if name == old:
            raise InvalidParameterError(
                "Renaming a container with the same name as its current name"
            )
        # Not held up by a verb: only a removal matters, which takes the entry out.
        async with entry.writing:
            self._directory.find(entry.record.id)
            record = msgspec.structs.replace(entry.record, name=name)
            renamed = event(record, "rename", oldName=f"/{old}")
            try:
                await self._repository.update(record, (renamed,))
            except ConflictError as error:
                raise ConflictError(f"{_NO_NAME}: {error.message}") from None
            self._directory.find(entry.record.id)
            entry.record = record
            self._directory.rename(old, record)
        await self._lifecycle.naming.renamed(record)
