"""Builds the daemon's parts, starts them in order and stops them in reverse; nothing else.

Order: the root's lock, the database, images, volumes, networks, the shim template, containers
(recovery), and only then the sockets: whoever can connect finds a settled state. Stopping leaves
every container running.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

from aiod.api import listen
from aiod.api.routes import all_routes
from aiod.api.server import ApiServer, Counters
from aiod.api.services import Services
from aiod.build.service import BuildService
from aiod.config import DaemonConfig, Paths
from aiod.containers.service import ContainerService
from aiod.errors import AiodError
from aiod.images.lookups import Lookups
from aiod.images.pushing import Pushes
from aiod.images.service import ImageService
from aiod.images.snapshots.choice import choose
from aiod.networks.service import NetworkService
from aiod.rootlock import RootLock, engine_id
from aiod.sdnotify import Notifier
from aiod.store.containers import ContainerRepository
from aiod.store.database import Database
from aiod.store.events import EventLog
from aiod.store.execs import ExecRepository
from aiod.store.images import ImageRepository
from aiod.store.networks import NetworkRepository
from aiod.store.volumes import VolumeRepository
from aiod.tasks.shim_client import ShimTemplate
from aiod.volumes.service import VolumeService

log = logging.getLogger(__name__)

THREADS = 16  # file system work; more would only queue in the kernel


class Daemon:
    """One daemon on one root."""

    def __init__(self, config: DaemonConfig) -> None:
        self.config = config
        self._stack = contextlib.AsyncExitStack()
        self._stop = asyncio.Event()
        self._notifier = Notifier()

    async def start(self) -> None:
        """Start everything; on failure what was started is stopped again, and the error raised."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _start(self) -> None:
        paths = self.config.paths
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="aiod")
        asyncio.get_running_loop().set_default_executor(pool)
        lock = RootLock(paths)
        await asyncio.to_thread(lock.acquire)
        self._stack.callback(lock.release)
        await asyncio.to_thread(_make_directories, paths)
        # Open before the recovery, so that a taken address costs no work; served after it.
        listener = await asyncio.to_thread(listen.open_all, self.config)
        self._stack.callback(listener.close)
        services = await self._start_services()
        server = ApiServer(all_routes(services), services.counters)
        await listener.serve(server.protocol_factory)
        self._stack.push_async_callback(server.close)
        self._start_watchdog()
        self._obey_signals()
        log.info("ready on %s", ", ".join(listener.names))
        self._notifier.ready("ready")

    async def _start_services(self) -> Services:
        paths = self.config.paths
        database = await Database.open(paths.database)
        self._stack.push_async_callback(database.close)
        events = EventLog(database)
        images = ImageService(paths, ImageRepository(database), registries=self.config.registries)
        await images.start()
        self._stack.push_async_callback(images.close)
        volumes = VolumeService(paths, VolumeRepository(database))
        await volumes.start()
        identity = await asyncio.to_thread(engine_id, paths.root)
        networks = NetworkService(self.config, NetworkRepository(database), identity)
        await networks.load()
        template = ShimTemplate(paths)
        await template.start()
        self._stack.push_async_callback(template.close)
        containers = ContainerService(
            paths,
            self.config,
            ContainerRepository(database),
            ExecRepository(database),
            images,
            volumes,
            networks,
            template,
            events,
            await asyncio.to_thread(choose, self.config.snapshotter, paths.root),
        )
        self._stack.push_async_callback(containers.close)
        await containers.recover()
        builds = BuildService(paths, images, containers)
        await builds.recover()
        images.collect_soon()
        return Services(
            self.config, containers, images, Pushes(images, images.transport),
            Lookups(images.transport), events, Counters(), identity, builds, volumes, networks,
        )  # fmt: skip

    def _start_watchdog(self) -> None:
        interval = self._notifier.watchdog_interval
        if interval is not None:
            task = asyncio.create_task(self._watch(interval), name="watchdog")
            self._stack.callback(task.cancel)

    async def _watch(self, interval: float) -> None:
        while True:
            self._notifier.alive()
            await asyncio.sleep(interval)

    def _obey_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    async def run(self) -> None:
        """Wait until asked to stop by SIGTERM or SIGINT."""
        await self._stop.wait()

    async def close(self) -> None:
        """Stop every part, the last started first; containers go on running."""
        self._notifier.stopping()
        log.info("stopping; containers go on running")
        await self._stack.aclose()


def _make_directories(paths: Paths) -> None:
    for directory in (paths.root, paths.state):
        directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    for directory in (paths.blobs, paths.ingest, paths.overlay, paths.containers, paths.shims):
        directory.mkdir(parents=True, exist_ok=True, mode=0o710)
    paths.volumes.mkdir(exist_ok=True, mode=0o701)


class _OneLine(logging.Formatter):
    """One line per record, whatever the message or a traceback holds."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " | ")


def _set_up_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    # The journal stamps every line itself.
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    handler.setFormatter(_OneLine(f"{stamp}%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


async def _serve(config: DaemonConfig) -> None:
    daemon = Daemon(config)
    await daemon.start()
    try:
        await daemon.run()
    finally:
        await daemon.close()


def main(config: DaemonConfig) -> NoReturn:
    """Run a daemon until it is told to stop; exits 0 then, 1 with one line on an error."""
    import uvloop

    _set_up_logging(config.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config))
    except (AiodError, listen.ListenError, OSError) as error:
        print(f"aiod: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if config.log_level == "debug":
            log.exception("cannot go on")
        print(f"aiod: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    _leave()


def _leave() -> NoReturn:
    """Exit with 0: all is closed, and to take the interpreter apart takes longer than all that."""
    logging.shutdown()
    os._exit(0)
