"""Containers' root file systems: which directories and which snapshotter a record means.

Must not know how snapshots are made. Blocking.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from aiod.config import Paths
from aiod.images.service import ImageService
from aiod.images.snapshots.choice import Snapshotters
from aiod.images.snapshots.model import Difference, Stack, Usage, Write
from aiod.native import spec
from aiod.store.records import ContainerRecord


class Roots:
    """The roots of one daemon's containers."""

    def __init__(self, paths: Paths, images: ImageService, snapshotters: Snapshotters) -> None:
        self._paths = paths
        self._images = images
        self._snapshotters = snapshotters
        self.default = snapshotters.default

    def prepare(self, record: ContainerRecord) -> tuple[spec.Mount, ...]:
        """Have the root ready; the mounts that make it."""
        _make_init_layer(self._paths.init_layer)
        snapshotter, stack = self._snapshotters.of(record.snapshotter), self._stack(record)
        snapshotter.prepare(stack)
        return tuple(
            spec.Mount("/", mount.kind, mount.source, mount.options)
            for mount in snapshotter.mounts(stack)
        )

    def views(self, record: ContainerRecord) -> list[Path]:
        """Directories that, stacked, show the root."""
        return list(self._snapshotters.of(record.snapshotter).views(self._stack(record)))

    def usage(self, record: ContainerRecord) -> Usage:
        """What the container has written."""
        return self._snapshotters.of(record.snapshotter).usage(self._stack(record))

    def differences(self, record: ContainerRecord) -> Iterable[Difference]:
        """What the container has made other than its layers are."""
        return self._snapshotters.of(record.snapshotter).differences(self._stack(record))

    def commit(self, record: ContainerRecord) -> Write | None:
        """What writes the layer of all it changed; None if it changed nothing."""
        return self._snapshotters.of(record.snapshotter).commit(self._stack(record))

    def layers(self, record: ContainerRecord) -> list[Path]:
        """The image's own directories, the topmost first."""
        return [self._images.layer_directory(chain) for chain in reversed(record.layers)]

    def _stack(self, record: ContainerRecord) -> Stack:
        layers = (self._paths.init_layer, *self.layers(record))
        return Stack(self._paths.container(record.id), layers)


def _make_init_layer(directory: Path) -> None:
    """One for all containers; so that their own layers have only what they wrote themselves.

    Programs take `/.dockerenv` for the sign of a container.
    """
    sign = directory / ".dockerenv"
    if os.path.lexists(sign):
        return
    for name in ("dev", "proc", "sys"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    sign.touch(0o755)
