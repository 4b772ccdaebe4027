"""Changes of how a route behaves, beyond what it is sent and answers.

Each is asked by the one route that it concerns: `TOLD_APART.holds(call.version)`.
"""

from aiod.api.history.change import GATE, Change

BINARY = Change(
    (1, 28), "GET /containers/{id}/attach/ws", "output comes in binary frames, before in text ones."
)
WITHOUT_CONTAINERS = Change(
    (1, 28), "GET /networks", "`Containers` is empty, before it had who is on each network."
)
TOLD_AT_ONCE = Change(
    (1, 30), "POST /containers/{id}/wait",
    "the header is sent once the wait is registered, before when it is over.",
)  # fmt: skip
IDS = Change((1, 30), "POST /build", "ids of images are told in lines with `aux`, before not.")
FAILURE_TOLD = Change(
    (1, 34), "POST /containers/{id}/wait?condition=removed",
    "a removal that failed is told in `Error`, before by an answer without a body.",
)  # fmt: skip
TOLD_APART = Change(
    (1, 42), "POST /containers/{id}/attach, GET /containers/{id}/logs, POST /exec/{id}/start",
    "multiplexed streams have a Content-Type of their own, before that of raw ones.",
)  # fmt: skip
STREAMS_CHOSEN = Change(
    (1, 42), "GET /containers/{id}/attach/ws",
    "`stdin`, `stdout` and `stderr` choose, before all three were attached.",
)  # fmt: skip
NAMED_KEPT = Change(
    (1, 42), "POST /volumes/prune", "volumes with a name stay unless filtered by `all`, before not."
)
CREATED_TOLD = Change(
    (1, 46), "GET /events", "images that were built are told with `create`, before not.", GATE
)
ALL = (
    BINARY, WITHOUT_CONTAINERS, TOLD_AT_ONCE, IDS, FAILURE_TOLD, TOLD_APART, STREAMS_CHOSEN,
    NAMED_KEPT, CREATED_TOLD,
)  # fmt: skip
