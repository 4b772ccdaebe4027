"""Routes of the tag Network. Must not know how a container is given its network."""

import time

import msgspec
from aiohttp import web

from aiod.api import networkviews, params, replies
from aiod.api.history import conduct
from aiod.api.history.requests import NETWORK
from aiod.api.networkviews import ContainerView, NetworkView
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.errors import InvalidParameterError, NotFoundError
from aiod.images.selection import moment
from aiod.networks.requests import NetworkRequest
from aiod.networks.selection import LIST_FILTERS, PRUNE_FILTERS, SCOPE
from aiod.store.models import EndpointSettings
from aiod.store.networkrecords import NetworkRecord

_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


class CreateReply(msgspec.Struct, frozen=True):
    """The answer of create."""

    Id: str
    Warning: str


class ConnectBody(msgspec.Struct, frozen=True):
    """The body of a connect."""

    Container: str = ""
    EndpointConfig: EndpointSettings = EndpointSettings()


class DisconnectBody(msgspec.Struct, frozen=True):
    """The body of a disconnect."""

    Container: str = ""
    Force: bool = False


class PruneReply(msgspec.Struct, frozen=True):
    """The answer of prune."""

    NetworksDeleted: list[str] | None


class NetworkRoutes:
    """List, inspect, create, remove, prune, connect and disconnect."""

    def __init__(self, services: Services) -> None:
        self._networks = services.networks
        self._containers = services.containers

    def routes(self) -> list[Route]:
        """The table's part."""
        return [
            Route("GET", "/networks", self._list),
            Route("POST", "/networks/create", self._create),
            Route("POST", "/networks/prune", self._prune),
            Route("GET", "/networks/{id}", self._inspect),
            Route("DELETE", "/networks/{id}", self._remove),
            Route("POST", "/networks/{id}/connect", self._connect),
            Route("POST", "/networks/{id}/disconnect", self._disconnect),
        ]

    async def _list(self, call: Call) -> web.StreamResponse:
        filters = params.filters(call.query(), LIST_FILTERS)
        await self._networks.choose_default()
        found = self._networks.select(filters)
        told = not conduct.WITHOUT_CONTAINERS.holds(call.version)
        return replies.json(
            [networkviews.view(network, self._on(network) if told else {}) for network in found]
        )

    async def _inspect(self, call: Call) -> web.StreamResponse:
        query = call.query()
        verbose = _boolean(query.get("verbose", ""), "verbose")
        await self._networks.choose_default()
        network = self._networks.find(call.id)
        if query.get("scope") not in (None, "", SCOPE):
            raise NotFoundError(f"network {call.id} not found")
        return replies.json(self._view(network, verbose=verbose))

    def _view(self, network: NetworkRecord, *, verbose: bool) -> NetworkView:
        return networkviews.view(network, self._on(network), verbose=verbose)

    def _on(self, network: NetworkRecord) -> dict[str, ContainerView]:
        """Who is on it now."""
        found = {}
        for end in self._networks.ends_on(network.id):
            try:
                record = self._containers.get(end.container_id)
            except NotFoundError:
                continue
            if end.assigned is not None:
                found[record.id] = networkviews.container(record.name, end.assigned)
        return found

    async def _create(self, call: Call) -> web.StreamResponse:
        request = params.decode(await params.json_bytes(call.request), NetworkRequest)
        request = NETWORK.applied(request, call.version)
        made, warning = await self._networks.create(request)
        return replies.json(CreateReply(made.id, warning), 201)

    async def _remove(self, call: Call) -> web.StreamResponse:
        await self._networks.remove(call.id)
        return replies.empty()

    async def _prune(self, call: Call) -> web.StreamResponse:
        filters = params.filters(call.query(), PRUNE_FILTERS)
        values = filters.get("until", [])
        if len(values) > 1:
            raise InvalidParameterError("more than one until filter specified")
        until = moment(values[0], time.time_ns()) if values else None
        gone = await self._networks.prune(filters, until)
        return replies.json(PruneReply(gone or None))

    async def _connect(self, call: Call) -> web.StreamResponse:
        body = params.decode(await params.json_bytes(call.request), ConnectBody)
        _check_reference(body.Container)
        await self._containers.connect(call.id, body.Container, body.EndpointConfig)
        return replies.empty(200)

    async def _disconnect(self, call: Call) -> web.StreamResponse:
        body = params.decode(await params.json_bytes(call.request), DisconnectBody)
        _check_reference(body.Container)
        await self._containers.disconnect(call.id, body.Container, force=body.Force)
        return replies.empty(200)


def _check_reference(container: str) -> None:
    if not container:
        raise InvalidParameterError('invalid name or ID supplied: ""')


def _boolean(text: str, name: str) -> bool:
    if text in _TRUE:
        return True
    if text in ("", *_FALSE):
        return False
    raise InvalidParameterError(
        f'invalid value for {name}: {text}: strconv.ParseBool: parsing "{text}": invalid syntax'
    )
