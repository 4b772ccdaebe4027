"""The events that networks cause, with dockerd's actions and attributes. Pure."""

import time
from collections.abc import Iterable

from aiod.store.networkrecords import NetworkRecord
from aiod.store.records import EventRecord


def event(network: NetworkRecord, action: str, **attributes: str) -> EventRecord:
    """Something happened to a network: `create`, `connect`, `disconnect` or `destroy`."""
    about = {"name": network.name, "type": network.driver, **attributes}
    return EventRecord(0, time.time_ns(), "network", action, network.id, about)


def joined(networks: Iterable[NetworkRecord], action: str, container: str) -> list[EventRecord]:
    """A container is on these networks now, or no longer."""
    return [event(network, action, container=container) for network in networks]


def pruned() -> EventRecord:
    """Networks were pruned; they take no space."""
    return EventRecord(0, time.time_ns(), "network", "prune", "", {"reclaimed": "0"})
