"""The events that volumes cause, with dockerd's actions and attributes. Pure."""

import time

from aiod.store.records import EventRecord
from aiod.volumes.rules import DRIVER


def event(name: str, action: str, **attributes: str) -> EventRecord:
    """Something happened to the volume `name`."""
    return EventRecord(0, time.time_ns(), "volume", action, name, {"driver": DRIVER, **attributes})


def pruned(reclaimed: int) -> EventRecord:
    """Volumes were pruned, and so many bytes are free again."""
    return EventRecord(0, time.time_ns(), "volume", "prune", "", {"reclaimed": str(reclaimed)})
