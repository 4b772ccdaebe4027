"""Which mount points a new container has: the order in which wishes override one another.

Owns dockerd's precedence: other containers' volumes, then binds, then mounts, then unnamed
volumes where nothing else is. Must not know how volumes are made.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import msgspec

from aiod.containers import layered
from aiod.containers.mountplan import points
from aiod.containers.mountrequests import (
    MountRequest,
    binds,
    destination,
    mounts,
    tmpfs_of,
    volumes_from,
)
from aiod.errors import InvalidParameterError, NotFoundError
from aiod.images.snapshots.native import copy_tree
from aiod.store.models import ContainerConfig, DriverSettings, HostConfig, VolumeSettings
from aiod.store.records import ContainerRecord, MountPoint
from aiod.volumes.copyup import Fill
from aiod.volumes.model import Request
from aiod.volumes.rules import DRIVER, new_name
from aiod.volumes.service import anonymous

replace = msgspec.structs.replace


def choose(
    config: ContainerConfig,
    host: HostConfig,
    find: Callable[[str], ContainerRecord],
    *,
    read_only_below: bool = True,
) -> list[MountRequest]:
    """All mount points, unnamed volumes with their new names; `config` has the image's volumes.

    Unless `read_only_below`, a read-only bind says nothing of what is mounted below it.
    Raises InvalidParameterError, also for a container of `VolumesFrom` that is not there.
    """
    found: dict[str, MountRequest] = {}
    for text in host.VolumesFrom or ():
        name, writable = volumes_from(text)
        found |= {one.point.destination: one for one in _of_other(name, writable, find)}
    for one in (*binds(host), *mounts(host)):
        found[one.point.destination] = one if read_only_below else _itself(one)
    taken = {*found, *map(destination, tmpfs_of(host))}
    for target in config.Volumes or {}:
        place = destination(target)
        if place == "/":
            raise InvalidParameterError("invalid specification: destination can't be '/'")
        if place not in taken:
            taken.add(place)
            found[place] = _unnamed(place, host.VolumeDriver)
    return [_named(one) for one in found.values()]


def _itself(one: MountRequest) -> MountRequest:
    return dataclasses.replace(one, point=replace(one.point, read_only_below=False))


def _of_other(
    name: str, writable: bool, find: Callable[[str], ContainerRecord]
) -> Iterable[MountRequest]:
    try:
        other = find(name)
    except NotFoundError as error:
        raise InvalidParameterError(error.message) from None
    for point in points(other):
        if point.kind != "tmpfs":
            mine = replace(point, writable=point.writable and writable, mode="", create_source=True)
            yield MountRequest(mine, point.destination)


def _unnamed(place: str, driver: str) -> MountRequest:
    point = MountPoint("volume", place, driver=DRIVER, anonymous=True)
    settings = VolumeSettings(DriverConfig=DriverSettings(driver)) if driver else VolumeSettings()
    return MountRequest(point, place, True, settings=settings)


def _named(one: MountRequest) -> MountRequest:
    if one.point.kind != "volume" or one.point.name:
        return one
    return MountRequest(
        replace(one.point, name=new_name()), one.target, one.copy, settings=one.settings
    )


def check_sources(chosen: Iterable[MountRequest]) -> None:
    """Raise InvalidParameterError for a bind's source that is not there. Blocking."""
    for one in chosen:
        if one.source_must_exist and not os.path.exists(one.point.source):
            raise InvalidParameterError(
                'invalid mount config for type "bind": '
                f"bind source path does not exist: {one.point.source}"
            )


def volumes(chosen: Iterable[MountRequest], views: list[Path]) -> list[Request]:
    """What is asked of volumes; `views`, stacked, show the image. Blocking.

    Raises InvalidParameterError for a file in an unnamed volume's place.
    """
    found: dict[str, Request] = {}
    for one in chosen:
        if one.point.kind == "volume":
            asked = _volume(one, _content(one.point, views) if one.copy else None)
            before = found.get(asked.name)
            found[asked.name] = before if before and before.fill else asked
    return list(found.values())


def _volume(one: MountRequest, fill: Fill | None) -> Request:
    driver = one.settings.DriverConfig or DriverSettings()
    asked = Request(one.point.name, driver.Name, driver.Options, one.settings.Labels, fill)
    return anonymous(asked) if one.point.anonymous else asked


def _content(point: MountPoint, views: list[Path]) -> Fill | None:
    """What copies the image's directory in a volume's place; None if there is none."""
    try:
        places = layered.directories(views, point.destination)
    except NotADirectoryError:
        if not point.anonymous:
            return None  # its start will say so
        raise InvalidParameterError(
            f"cannot mount volume over existing file, file exists {point.destination}"
        ) from None
    return partial(_copy, places) if places else None


def _copy(places: list[Path], target: Path) -> None:
    copy_tree(places[0], target, places[1:])
