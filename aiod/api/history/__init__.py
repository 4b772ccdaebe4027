"""What the Engine API was in its older versions: one row for each change that clients depend on.

Owns every version number there is but the two ends (`versions`): routes ask here, and have no
version of their own. `parameters` are those of a query, `requests` bodies, `replies` answers,
`conduct` all else. docs/api-coverage.md is made of the rows.
"""

from collections.abc import Iterator

from aiod.api.history import conduct, parameters, replies, requests
from aiod.api.history.change import Change


def changes() -> Iterator[Change]:
    """All rows."""
    yield from parameters.changes()
    yield from conduct.ALL
    for bodies in requests.ALL:
        yield from bodies
    for answers in replies.ALL:
        yield from answers
