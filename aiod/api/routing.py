"""From method and path to a handler.

Owns the table's shape and its search; must not know the routes themselves nor HTTP headers.
A path pattern names its variable parts `{id}`; `{name}` of an image may contain slashes.
"""

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Set
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from aiohttp import web

from aiod.api.versions import Version
from aiod.errors import NotFoundError


class Call(msgspec.Struct, frozen=True):
    """One request on its way to a route: `match` holds the path's variable parts.

    `passed_over` are parameters of its query that the version asked for has not.
    """

    request: web.BaseRequest
    version: Version
    route: str
    match: dict[str, str]
    common_headers: dict[str, str] = {}
    passed_over: Set[str] = frozenset()

    @property
    def id(self) -> str:
        """The path's `{id}`."""
        return self.match["id"]

    @property
    def name(self) -> str:
        """The path's `{name}`."""
        return self.match["name"]

    def query(self) -> dict[str, str]:
        """The query's parameters, the first value of each."""
        found: dict[str, str] = {}
        for key, value in self.request.query.items():
            if key not in self.passed_over:
                found.setdefault(key, value)
        return found

    def values(self, name: str) -> list[str]:
        """All values of one of the query's parameters."""
        return [] if name in self.passed_over else self.request.query.getall(name, [])


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """A row of the table.

    `interruptible`: the handler only asks or watches, and is cancelled when its client goes
    away or the daemon stops. All others change something and run to their end.
    """

    method: str
    pattern: str
    handler: Handler
    interruptible: bool = False


class Found(NamedTuple):
    """A route, and what the path gave for its variable parts."""

    route: Route
    match: dict[str, str]


def _compile(pattern: str) -> re.Pattern[str]:
    escaped = re.sub(r"\{id\}", r"(?P<id>[^/]+)", pattern)
    return re.compile(re.sub(r"\{name\}", r"(?P<name>.+)", escaped))


class _Rows:
    """The routes of one method and first path segment, by the last one where that is fixed."""

    def __init__(self) -> None:
        self._by_last: dict[str, list[tuple[re.Pattern[str], Route]]] = {}
        self._others: list[tuple[re.Pattern[str], Route]] = []

    def add(self, route: Route) -> None:
        """The next in order."""
        row = _compile(route.pattern), route
        last = _last(route.pattern)
        if "{" in last:
            self._others.append(row)
            for rows in self._by_last.values():
                rows.append(row)
        elif last in self._by_last:
            self._by_last[last].append(row)
        else:
            self._by_last[last] = [*self._others, row]

    def find(self, path: str) -> Found | None:
        """The first whose pattern the path is."""
        for pattern, route in self._by_last.get(_last(path), self._others):
            if match := pattern.fullmatch(path):
                return Found(route, match.groupdict())
        return None


class Table:
    """All routes, found by method and the path's ends, then by pattern in given order."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._rows: dict[tuple[str, str], _Rows] = defaultdict(_Rows)
        self._fixed: dict[tuple[str, str], Route] = {}
        for route in routes:
            if "{" in route.pattern:
                self._rows[route.method, _first(route.pattern)].add(route)
            else:
                self._fixed.setdefault((route.method, route.pattern), route)

    def find(self, method: str, path: str) -> Found:
        """The route; NotFoundError as dockerd words it."""
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            return Found(fixed, {})
        rows = self._rows.get((method, _first(path)))
        found = rows.find(path) if rows else None
        if found is None:
            raise NotFoundError("page not found")
        return found


def _first(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


def _last(path: str) -> str:
    return path.rpartition("/")[2]
