"""Routes of the Engine API that this engine does not have.

Those of later work answer 501 naming the route; those of a swarm and of plugins
answer what a dockerd answers that has none. Must not know how anything else is done.
"""

from aiohttp import web

from aiod.api.routing import Call, Route
from aiod.errors import NotFoundError, UnavailableError, UnsupportedError

_NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
    "to connect this node to swarm and try again."
)

_LATER = """
POST /build/cancel
POST /session
POST /grpc
"""

_PLUGINS = """
GET /plugins/privileges
POST /plugins/pull
POST /plugins/create
"""

_PLUGIN = """
GET /plugins/{name}/json
DELETE /plugins/{name}
POST /plugins/{name}/enable
POST /plugins/{name}/disable
POST /plugins/{name}/upgrade
POST /plugins/{name}/push
POST /plugins/{name}/set
"""

_SWARM = """
GET /nodes
GET /nodes/{id}
DELETE /nodes/{id}
POST /nodes/{id}/update
GET /swarm
POST /swarm/leave
POST /swarm/update
GET /swarm/unlockkey
POST /swarm/unlock
GET /services
POST /services/create
GET /services/{id}
DELETE /services/{id}
POST /services/{id}/update
GET /services/{id}/logs
GET /tasks
GET /tasks/{id}
GET /tasks/{id}/logs
GET /secrets
POST /secrets/create
GET /secrets/{id}
DELETE /secrets/{id}
POST /secrets/{id}/update
GET /configs
POST /configs/create
GET /configs/{id}
DELETE /configs/{id}
POST /configs/{id}/update
"""

_SWARM_BY_DESIGN = "POST /swarm/init\nPOST /swarm/join"


async def _later(call: Call) -> web.StreamResponse:
    raise UnsupportedError(f"{call.request.method} {call.route} is not supported by aiod yet")


async def _no_plugins(call: Call) -> web.StreamResponse:
    raise UnsupportedError(f"{call.request.method} {call.route}: aiod has no plugins")


async def _no_plugin(call: Call) -> web.StreamResponse:
    raise NotFoundError(f'plugin "{call.name}" not found')


async def _never(call: Call) -> web.StreamResponse:
    raise UnsupportedError(f"{call.request.method} {call.route}: aiod has no swarm mode")


async def _no_swarm(call: Call) -> web.StreamResponse:
    raise UnavailableError(_NO_SWARM)


def routes() -> list[Route]:
    """Every route of the specification that no other module has; to be put last."""
    table = (
        (_LATER, _later),
        (_PLUGINS, _no_plugins),
        (_PLUGIN, _no_plugin),
        (_SWARM, _no_swarm),
        (_SWARM_BY_DESIGN, _never),
    )
    return [
        Route(method, pattern, handler)
        for lines, handler in table
        for method, pattern in map(str.split, lines.strip().splitlines())
    ]
