"""Routes of the tag Network, as far as there are networks: `none` and `host`.

Must not know how a container is given its network.
"""

import hashlib
from collections.abc import Callable

import msgspec
from aiohttp import web

from aiod.api import params, replies
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.errors import NotFoundError

_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
_DRIVERS = {"none": "null", "host": "host"}


class Ipam(msgspec.Struct, frozen=True):
    """Address management: neither network has any."""

    Driver: str = "default"
    Options: None = None
    Config: tuple[()] = ()


class NetworkView(msgspec.Struct, frozen=True):
    """A network in Docker's words."""

    Name: str
    Id: str
    Driver: str
    Containers: dict[str, object]
    Created: str = "0001-01-01T00:00:00Z"
    Scope: str = "local"
    EnableIPv4: bool = False
    EnableIPv6: bool = False
    IPAM: Ipam = Ipam()
    Internal: bool = False
    Attachable: bool = False
    Ingress: bool = False
    ConfigFrom: dict[str, str] = msgspec.field(default_factory=lambda: {"Network": ""})
    ConfigOnly: bool = False
    Options: dict[str, str] = {}
    Labels: dict[str, str] = {}


def network_id(engine_id: str, name: str) -> str:
    """The id of a built-in network: the same for one engine for ever."""
    return hashlib.sha256(f"{engine_id}/{name}".encode()).hexdigest()


class NetworkRoutes:
    """List and inspect."""

    def __init__(self, services: Services) -> None:
        self._networks = [
            NetworkView(Name=name, Id=network_id(services.engine_id, name), Driver=driver,
                        Containers={})
            for name, driver in _DRIVERS.items()
        ]  # fmt: skip

    def routes(self) -> list[Route]:
        """The table's part."""
        return [
            Route("GET", "/networks", self._list),
            Route("GET", "/networks/{id}", self._inspect),
        ]

    async def _list(self, call: Call) -> web.StreamResponse:
        filters = params.filters(call.query(), _FILTERS)
        return replies.json([n for n in self._networks if _matches(n, filters)])

    async def _inspect(self, call: Call) -> web.StreamResponse:
        for network in self._networks:
            if call.id == network.Name or (len(call.id) >= 4 and network.Id.startswith(call.id)):
                return replies.json(network)
        raise NotFoundError(f"network {call.id} not found")


def _matches(network: NetworkView, filters: params.Filters) -> bool:
    known: dict[str, Callable[[str], bool]] = {
        "name": lambda value: value in network.Name,
        "id": lambda value: value in network.Id,
        "driver": lambda value: value == network.Driver,
        "scope": lambda value: value == network.Scope,
        "type": lambda value: value == "builtin",
        "dangling": lambda value: value in ("0", "false"),
        "label": lambda value: False,
    }
    return all(
        any(known[name](value) for value in values) for name, values in filters.items() if values
    )
