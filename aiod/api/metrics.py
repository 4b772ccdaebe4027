"""`GET /metrics`: Prometheus text format, version 0.0.4.

Must not know how anything is counted, only where the counts are.
"""

from collections.abc import Iterator

from aiohttp import web

import aiod
from aiod.api.routing import Call, Route
from aiod.api.services import Services
from aiod.store.records import Status

_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def sample(name: str, value: float, **labels: str) -> str:
    """One line of the text format."""
    inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value}" if inner else f"{name} {value}"


def head(name: str, kind: str, text: str) -> str:
    """The two comment lines before a metric's samples."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}"


class MetricsRoutes:
    """The one route for Prometheus."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> list[Route]:
        """The table's part."""
        return [Route("GET", "/metrics", self._metrics)]

    async def _metrics(self, call: Call) -> web.StreamResponse:
        lines = [*self._containers(), *self._requests(), *await self._events()]
        return web.Response(
            body=("\n".join(lines) + "\n").encode(), headers={"Content-Type": _TYPE}
        )

    def _containers(self) -> Iterator[str]:
        yield head("aiod_build_info", "gauge", "The running version.")
        yield sample("aiod_build_info", 1, version=aiod.__version__)
        counts = dict.fromkeys(Status, 0)
        for record in self._services.containers.list():
            counts[record.state.status] += 1
        yield head("aiod_containers", "gauge", "Containers by state.")
        for status, count in counts.items():
            yield sample("aiod_containers", count, state=status.value)

    def _requests(self) -> Iterator[str]:
        counters = self._services.counters
        yield head("aiod_api_requests_in_flight", "gauge", "Requests being answered.")
        yield sample("aiod_api_requests_in_flight", counters.in_flight)
        yield head("aiod_api_requests_total", "counter", "Requests answered.")
        for (method, route, status), count in sorted(counters.requests.items()):
            yield sample(
                "aiod_api_requests_total", count, method=method, route=route, status=str(status)
            )
        yield head("aiod_api_request_seconds_total", "counter", "Seconds spent on requests.")
        for (method, route), seconds in sorted(counters.seconds.items()):
            yield sample(
                "aiod_api_request_seconds_total", round(seconds, 6), method=method, route=route
            )

    async def _events(self) -> Iterator[str]:
        last = await self._services.events.last_seq()
        return iter(
            (
                head("aiod_events_total", "counter", "Events recorded since the root was made."),
                sample("aiod_events_total", last),
            )
        )
