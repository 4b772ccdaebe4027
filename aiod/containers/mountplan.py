"""A container's settled mount points as mounts of its specification.

Owns their options. Must not know who asked for what, nor how they are carried out.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from aiod.config import Paths
from aiod.containers import propagation, tmpfs
from aiod.containers.mountrequests import binds, destination, tmpfs_of
from aiod.errors import InternalError
from aiod.native import spec
from aiod.store.records import ContainerRecord, MountPoint


def points(record: ContainerRecord) -> tuple[MountPoint, ...]:
    """The mount points; those of a record of before there were volumes are its binds."""
    if record.mounts or not record.host.Binds:
        return record.mounts
    return tuple(request.point for request in binds(record.host))


def make_sources(found: Iterable[MountPoint]) -> None:
    """Make the missing sources of binds that want it, as directories, which Docker does too.

    Blocking. Raises InternalError.
    """
    for point in found:
        if not point.create_source or os.path.lexists(point.source):
            continue
        try:
            Path(point.source).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InternalError(
                f"error while creating mount source path '{point.source}': "
                f"mkdir {error.filename}: {(error.strerror or '').lower()}"
            ) from error


def mounts(record: ContainerRecord, paths: Paths) -> list[spec.Mount]:
    """All but what every container has; blocking.

    Raises InvalidParameterError for a propagation that the source's mount has not.
    """
    found = [_mount(point, paths) for point in points(record)]
    memory = tmpfs_of(record.host).items()
    return found + [_tmpfs(destination(target), words.split(",")) for target, words in memory]


def _mount(point: MountPoint, paths: Paths) -> spec.Mount:
    if point.kind == "tmpfs":
        return _tmpfs(point.destination, point.tmpfs)
    source = point.source
    if point.kind == "volume":
        source = str(paths.volume(point.name))
    else:
        propagation.check(source, (point.propagation,))
    return spec.Mount(point.destination, "bind", source, _bind_options(point))


def _bind_options(point: MountPoint) -> tuple[str, ...]:
    options = ["rbind" if point.recursive else "bind"]
    if not point.writable:
        # What is mounted below it is read-only too, as Docker has it since 25.
        options.append("rro" if point.read_only_below else "ro")
    options.append(point.propagation or "rprivate")
    if point.subpath:
        options.append(f"subpath={point.subpath}")
    return tuple(options)


def _tmpfs(place: str, words: Iterable[str]) -> spec.Mount:
    return spec.Mount(place, "tmpfs", "tmpfs", tmpfs.merged(words))
