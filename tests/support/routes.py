"""The daemon's route table, made without a daemon: handlers are looked at, none is called."""

import functools
from types import SimpleNamespace
from typing import Any

from aiod.api.routes import all_routes
from aiod.api.routing import Route
from aiod.api.server import Counters
from aiod.config import DaemonConfig


def table() -> list[Route]:
    """All routes."""
    services: Any = SimpleNamespace(
        config=DaemonConfig(), containers=None, images=None, events=None, counters=Counters(),
        engine_id="0" * 32, pushes=None, lookups=None, builds=None, volumes=None, networks=None,
    )  # fmt: skip
    return all_routes(services)


@functools.cache
def known_routes() -> frozenset[str]:
    """As `GET /info`."""
    return frozenset(f"{route.method} {route.pattern}" for route in table())
