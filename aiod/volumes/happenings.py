"""The events that volumes cause, with dockerd's actions and attributes. Pure."""

import time
from collections.abc import Iterable

from aiod.store.records import EventRecord, MountPoint, VolumeRecord
from aiod.volumes.rules import DRIVER


def event(name: str, action: str, **attributes: str) -> EventRecord:
    """Something happened to the volume `name`."""
    return EventRecord(0, time.time_ns(), "volume", action, name, {"driver": DRIVER, **attributes})


def created(volumes: Iterable[VolumeRecord]) -> list[EventRecord]:
    """Volumes were made."""
    return [event(one.name, "create") for one in volumes]


def destroyed(names: Iterable[str]) -> list[EventRecord]:
    """Volumes are no more."""
    return [event(name, "destroy") for name in names]


def mounted(container: str, points: Iterable[MountPoint]) -> list[EventRecord]:
    """A container runs with its volumes."""
    return [
        event(
            point.name,
            "mount",
            container=container,
            destination=point.destination,
            propagation=point.propagation,
            **{"read/write": "true" if point.writable else "false"},
        )
        for point in points
        if point.kind == "volume"
    ]


def unmounted(container: str, points: Iterable[MountPoint]) -> list[EventRecord]:
    """A container's run with its volumes is over."""
    return [
        event(point.name, "unmount", container=container)
        for point in points
        if point.kind == "volume"
    ]


def pruned(reclaimed: int) -> EventRecord:
    """Volumes were pruned, and so many bytes are free again."""
    return EventRecord(0, time.time_ns(), "volume", "prune", "", {"reclaimed": str(reclaimed)})
