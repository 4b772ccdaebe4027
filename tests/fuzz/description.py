"""The part of an Engine API description that aiod claims, as a document to make requests from.

Owns which routes are left out and why; must not know how requests are made.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from aiod.api import absent
from aiod.api.routes import all_routes
from aiod.api.server import Counters
from aiod.config import DaemonConfig

_ABSENT = (absent._later, absent._never, absent._no_swarm)
_STREAMS = {
    ("POST", "/containers/{id}/attach"): "takes the connection over",
    ("GET", "/containers/{id}/attach/ws"): "takes the connection over",
    ("POST", "/exec/{id}/start"): "takes the connection over",
    ("POST", "/session"): "takes the connection over",
    ("GET", "/events"): "ends when it is told to",
}


def claimed() -> set[tuple[str, str]]:
    """Method and pattern of every route that is there."""
    services: Any = SimpleNamespace(
        config=DaemonConfig(), containers=None, images=None, pushes=None, lookups=None,
        events=None, counters=Counters(), engine_id="", builds=None, networks=None, volumes=None,
    )  # fmt: skip
    return {
        (route.method, route.pattern)
        for route in all_routes(services)
        if route.handler not in _ABSENT
    }


def read(path: Path) -> dict[str, Any]:
    """The description at `path`, reduced to what is claimed and ends by itself."""
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    wanted = claimed()
    paths: dict[str, Any] = {}
    for pattern, operations in document["paths"].items():
        kept = {
            method: operation
            for method, operation in operations.items()
            if method == "parameters"
            or ((method.upper(), pattern) in wanted and (method.upper(), pattern) not in _STREAMS)
        }
        if set(kept) - {"parameters"}:
            paths[pattern] = kept
    document["paths"] = paths
    document["schemes"] = ["http"]
    _allow_nulls(document)
    return document


def _allow_nulls(node: Any) -> None:
    """Go writes a list, a map or a pointed-to value that is not there as null, and clients know."""
    if isinstance(node, list):
        for one in node:
            _allow_nulls(one)
    elif isinstance(node, dict):
        if isinstance(node.get("type"), str) and "in" not in node:
            node["x-nullable"] = True
        for one in node.values():
            _allow_nulls(one)
