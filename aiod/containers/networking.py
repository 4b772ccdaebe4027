"""Whose network namespace a container has: its own, the host's, or that of another container.

Owns the words of `NetworkMode` and what follows from them for a namespace. Pure; must not know
which networks there are, nor how one is joined.
"""

from dataclasses import dataclass, field

import msgspec

from aiod.native.network.description import Sandbox
from aiod.networks.hostfiles import Ends
from aiod.store.records import ContainerRecord

NONE, HOST, DEFAULT = "none", "host", "bridge"
_CONTAINER = "container:"
# What Docker grants to every container that has a network of its own.
_DEFAULTS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container's network is, for one run.

    `sandbox` describes a namespace of its own; without one it is that of the process `joined` (pid
    and start time) or, without that too, the host's. Who joins has the names and files of
    `host_of`, the container that the namespace belongs to. `files` are more for the run directory,
    by name; `ends` is what the files below `/etc` say of it; `variables` come before its own.
    """

    sandbox: Sandbox | None = None
    joined: tuple[int, int] = (0, 0)
    host_of: ContainerRecord | None = None
    files: tuple[tuple[str, bytes], ...] = ()
    ends: Ends = field(default_factory=Ends)
    variables: tuple[str, ...] = ()


def other_container(mode: str) -> str:
    """Which container's network a mode asks for; empty for none."""
    return mode.removeprefix(_CONTAINER) if mode.startswith(_CONTAINER) else ""


def joining(container_id: str) -> str:
    """The mode that asks for that container's network."""
    return f"{_CONTAINER}{container_id}"


def joined_path(place: Place) -> str:
    """The file of the namespace to join; empty for none."""
    pid, _ = place.joined
    return f"/proc/{pid}/ns/net" if pid else ""


def has_own(mode: str) -> bool:
    """Whether a container of this mode has a network namespace of its own."""
    return mode != HOST and not mode.startswith(_CONTAINER)


def settings(record: ContainerRecord) -> tuple[dict[str, str], dict[str, str]]:
    """The kernel settings asked for: those of the network namespace, and the others.

    The first are made together with the links, which they may name.
    """
    asked = record.host.Sysctls if isinstance(record.host.Sysctls, dict) else {}
    if not has_own(record.network_mode):
        return {}, dict(asked)
    of_network = {key: value for key, value in asked.items() if _is_of_network(key)}
    others = {key: value for key, value in asked.items() if key not in of_network}
    return {**_DEFAULTS, **of_network}, others


def _is_of_network(key: str) -> bool:
    return key.replace("/", ".").startswith("net.")


def with_settings(sandbox: Sandbox, record: ContainerRecord) -> Sandbox:
    """The description, with what the container's user asked of its namespace."""
    return msgspec.structs.replace(sandbox, sysctls=settings(record)[0])


def as_run(record: ContainerRecord, place: Place) -> ContainerRecord:
    """The record as it is run: with the variables of its links; and who joins another's network
    is the same host by name too."""
    config = record.config
    if place.variables:
        config = msgspec.structs.replace(config, Env=[*place.variables, *(config.Env or ())])
    if place.host_of is None:
        return msgspec.structs.replace(record, config=config)
    config = msgspec.structs.replace(config, Domainname=place.host_of.config.Domainname)
    return msgspec.structs.replace(record, config=config, hostname=place.host_of.hostname)
