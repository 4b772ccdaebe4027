"""Puts on disk what a shim needs to make a container: its run directory and its bundle.

Owns the files; what is in `config.json` is `bundle`'s. Blocking; must not know records' states.
"""

import shutil
from pathlib import Path

from aiod.config import DaemonConfig, Paths
from aiod.containers import bundle, etcfiles, identity, mountplan, networking, sharing
from aiod.containers.networking import Place
from aiod.containers.roots import Roots
from aiod.containers.sharing import Shared
from aiod.containers.units import size_of
from aiod.shim import protocol
from aiod.store.models import ExecConfig
from aiod.store.records import ContainerRecord


class Preparer:
    """Writes bundles."""

    def __init__(self, paths: Paths, config: DaemonConfig, roots: Roots) -> None:
        self._paths = paths
        self._config = config
        self._roots = roots

    def write_bundle(
        self, record: ContainerRecord, place: Place, shared: Shared, *, start: bool
    ) -> None:
        """Make the run directory anew; `start` lets the container execute as soon as it is made.

        Raises OSError, and AiodError for what the image cannot give.
        """
        own, run = self._paths.container(record.id), self._paths.shim(record.id)
        sharing.take_shm_away(run)
        shutil.rmtree(run, ignore_errors=True)
        for made in (own, run / protocol.ROOTFS_DIRECTORY):
            made.mkdir(parents=True, exist_ok=True)
        sharing.make_shm(shared, record, self._paths)
        mountplan.make_sources(mountplan.points(record))
        etc = own
        if place.host_of is None:
            etcfiles.write(own, record, place.ends)
        else:
            etc = self._paths.container(place.host_of.id)
        root = self._roots.prepare(record)
        who = self._identity(record, record.config.User)
        run_as = networking.as_run(record, place)
        places = bundle.Places(root, etc, self._paths, networking.joined_path(place), shared)
        container = bundle.build(run_as, who, places)
        bundle.write(container, run, protocol.CONFIG_FILE)
        _write_network(record, run, place)
        protocol.write_struct(
            run / protocol.REQUEST_FILE, self._request(record, run, place, start, shared.processes)
        )

    def exec_process(
        self, record: ContainerRecord, config: ExecConfig, console_size: tuple[int, int] | None
    ) -> bytes:
        """The specification of an exec's process."""
        who = self._identity(record, config.User or record.config.User)
        return bundle.exec_process(record, config, who, console_size)

    def _identity(self, record: ContainerRecord, user: str) -> identity.Identity:
        return identity.resolve(user, record.host.GroupAdd or (), self._roots.views(record))

    def _request(
        self,
        record: ContainerRecord,
        run: Path,
        place: Place,
        start: bool,
        joined: tuple[tuple[int, int], ...],
    ) -> protocol.SpawnRequest:
        parent = self._config.cgroup_parent
        return protocol.SpawnRequest(
            id=record.id,
            directory=str(run),
            cgroup_path=f"{parent}/{record.id}",
            shim_cgroup=f"{parent}/shims",
            exits_socket=str(self._paths.exits_socket),
            terminal=record.config.Tty,
            open_stdin=record.config.OpenStdin,
            stdin_once=record.config.StdinOnce,
            start=start,
            log=_log(record),
            joined_pid=place.joined[0],
            joined_start=place.joined[1],
            joined=joined,
        )


def _write_network(record: ContainerRecord, run: Path, place: Place) -> None:
    for name, data in place.files:
        (run / name).write_bytes(data)
    if place.sandbox is not None:
        wanted = networking.with_settings(place.sandbox, record)
        protocol.write_struct(run / protocol.NETWORK_FILE, wanted)


def _log(record: ContainerRecord) -> protocol.LogConfig:
    settings = record.host.LogConfig.Config or {}
    driver = record.host.LogConfig.Type or "json-file"
    # Docker's defaults of each driver.
    size, files = ("20m", "5") if driver == "local" else ("", "1")
    size, files = settings.get("max-size", size), settings.get("max-file", files)
    return protocol.LogConfig(driver, record.log_path, size_of(size), int(files))
