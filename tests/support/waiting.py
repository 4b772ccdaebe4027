"""A wait for a container that is under way while the test goes on.

Must not know what the container does.
"""

import contextlib
import json
from typing import Any

from tests.support.engine import Engine
from tests.support.http import UnixConnection


class Waiting:
    """A wait under way: its header has come, so that it counts from now on."""

    def __init__(self, engine: Engine, container: str, condition: str) -> None:
        self._connection = UnixConnection(engine.socket, 30)
        query = f"?condition={condition}" if condition else ""
        self._connection.request("POST", f"/containers/{container}/wait{query}")
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200

    def result(self) -> Any:
        """The answer; TimeoutError if none comes."""
        try:
            return json.loads(self._answer.read())
        finally:
            self._connection.close()

    def not_yet(self) -> None:
        """Nothing has been answered, and does not come by itself."""
        self._connection.sock.settimeout(0.2)
        with contextlib.suppress(TimeoutError), contextlib.closing(self._connection):
            raise AssertionError(f"answered: {self._answer.read(1)!r}")
