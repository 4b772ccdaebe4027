"""The whole route table.

Owns the order only: what comes first wins.
"""

from aiod.api import absent
from aiod.api.attaching import StreamRoutes
from aiod.api.build import BuildRoutes
from aiod.api.changing import ChangingRoutes
from aiod.api.containers import ContainerRoutes
from aiod.api.events import EventRoutes
from aiod.api.execs import ExecRoutes
from aiod.api.files import FileRoutes
from aiod.api.images import ImageRoutes
from aiod.api.metrics import MetricsRoutes
from aiod.api.networks import NetworkRoutes
from aiod.api.nothing import NothingRoutes
from aiod.api.registry import RegistryRoutes
from aiod.api.routing import Route
from aiod.api.services import Services
from aiod.api.stats import StatsRoutes
from aiod.api.system import SystemRoutes
from aiod.api.upkeep import UpkeepRoutes
from aiod.api.usage import UsageRoutes
from aiod.api.volumes import VolumeRoutes
from aiod.api.websocket import WebSocketRoutes


def all_routes(services: Services) -> list[Route]:
    """Every route of the API over these services."""
    containers = ContainerRoutes(services)
    parts = (
        SystemRoutes(services),
        containers,
        ChangingRoutes(services),
        WebSocketRoutes(services),
        UsageRoutes(services, containers.renderer),
        FileRoutes(services),
        StatsRoutes(services),
        StreamRoutes(services),
        ExecRoutes(services),
        ImageRoutes(services),
        RegistryRoutes(services),
        BuildRoutes(services),
        NetworkRoutes(services),
        VolumeRoutes(services),
        EventRoutes(services),
        MetricsRoutes(services),
        UpkeepRoutes(services),
        NothingRoutes(),
    )
    return [*(route for part in parts for route in part.routes()), *absent.routes()]
