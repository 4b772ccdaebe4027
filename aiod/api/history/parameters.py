"""Parameters of queries that came or went: a version that has not one passes it over, as dockerd.

Pure; must not know what a parameter means.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from aiod.api.history.change import GATE, Change
from aiod.api.versions import Version


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a route that is there since a version, or until one."""

    route: str
    name: str
    since: Version = (0, 0)
    until: Version = (99, 0)

    def is_known(self, version: Version) -> bool:
        """Whether that version looks at it."""
        return self.since <= version < self.until


PARAMETERS = (
    Parameter("POST /containers/{id}/wait", "condition", since=(1, 30)),
    Parameter("POST /build", "platform", since=(1, 32)),
    Parameter("POST /images/create", "platform", since=(1, 32)),
    Parameter("POST /build", "outputs", since=(1, 40)),
    Parameter("GET /images/json", "filter", until=(1, 41)),
    Parameter("POST /containers/create", "platform", since=(1, 41)),
    Parameter("GET /containers/{id}/stats", "one-shot", since=(1, 41)),
    Parameter("POST /containers/{id}/stop", "signal", since=(1, 42)),
    Parameter("POST /containers/{id}/restart", "signal", since=(1, 42)),
    Parameter("GET /images/json", "shared-size", since=(1, 42)),
    Parameter("GET /system/df", "type", since=(1, 42)),
    Parameter("POST /images/{name}/push", "platform", since=(1, 46)),
    Parameter("GET /images/json", "manifests", since=(1, 47)),
    Parameter("GET /images/{name}/json", "manifests", since=(1, 48)),
    Parameter("GET /images/{name}/history", "platform", since=(1, 48)),
    Parameter("GET /images/{name}/get", "platform", since=(1, 48)),
    Parameter("GET /images/get", "platform", since=(1, 48)),
    Parameter("POST /images/load", "platform", since=(1, 48)),
    Parameter("GET /images/{name}/json", "platform", since=(1, 49)),
    Parameter("DELETE /images/{name}", "platforms", since=(1, 50)),
)


@functools.cache
def unknown(route: str, version: Version) -> frozenset[str]:
    """The parameters of a route (`GET /images/json`) that a version passes over."""
    return frozenset(
        row.name for row in PARAMETERS if row.route == route and not row.is_known(version)
    )


def changes() -> Iterator[Change]:
    """The rows of the history."""
    for row in PARAMETERS:
        gone = row.until < (99, 0)
        says = f"`{row.name}` is {'passed over; before, it was heard' if gone else 'heard'}."
        yield Change(row.until if gone else row.since, row.route, says, GATE)
