"""A small blocking Engine API client on a unix socket, the same for every engine.

Owns requests, JSON and Docker's multiplexed streams; must not know which engine answers.
"""

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

Json = Any


class UnixConnection(http.client.HTTPConnection):
    """http.client over AF_UNIX."""

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class ApiError(Exception):
    """The engine answered with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """`message` of an error answer, or the raw text."""
        try:
            return str(json.loads(self.body)["message"])
        except (ValueError, KeyError, TypeError):
            return self.body.decode(errors="replace")


class Api:
    """One keep-alive connection to an engine."""

    def __init__(self, path: Path, version: str = "", timeout: float = 60.0) -> None:
        self._connection = UnixConnection(path, timeout)
        self._prefix = f"/v{version}" if version else ""

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request makes another."""
        self._connection.close()

    def raw(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request as it is; no status is an error."""
        self._connection.request(method, self._prefix + path, body, dict(headers or {}))
        answer = self._connection.getresponse()
        return Reply(answer.status, dict(answer.getheaders()), answer.read())

    def send(self, method: str, path: str, body: Json = None, **query: str | int) -> Reply:
        """A request with a JSON body; no status is an error."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        return self.raw(method, f"{path}?{urlencode(query)}" if query else path, data, headers)

    def call(self, method: str, path: str, body: Json = None, **query: str | int) -> Json:
        """A request that must succeed: its JSON, or None without a body; ApiError otherwise."""
        reply = self.send(method, path, body, **query)
        if reply.status >= 400:
            raise ApiError(reply.status, reply.message)
        is_json = reply.headers.get("Content-Type", "").startswith("application/json")
        return reply.json() if reply.body and is_json else None

    def create(self, name: str = "", **config: Json) -> str:
        """Create a container (network none unless told); returns its id."""
        config.setdefault("HostConfig", {}).setdefault("NetworkMode", "none")
        query = {"name": name} if name else {}
        return str(self.call("POST", "/containers/create", config, **query)["Id"])

    def start(self, container: str) -> None:
        """Start a container."""
        self.call("POST", f"/containers/{container}/start")

    def run(self, *command: str, image: str = "base", name: str = "", **config: Json) -> str:
        """Create and start; returns the id."""
        container = self.create(name, Image=image, Cmd=list(command), **config)
        self.start(container)
        return container

    def execute(self, container: str, *command: str) -> bytes:
        """Run a command in it to its end, which must be good; what it said."""
        asked = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True}
        made = self.call("POST", f"/containers/{container}/exec", asked)["Id"]
        reply = self.send("POST", f"/exec/{made}/start", {})
        said = b"".join(data for _, data in frames(reply.body))
        assert self.call("GET", f"/exec/{made}/json")["ExitCode"] == 0, said
        return said

    def inspect(self, container: str) -> Json:
        """GET /containers/{id}/json."""
        return self.call("GET", f"/containers/{container}/json")

    def state(self, container: str) -> Json:
        """`State` of the container."""
        return self.inspect(container)["State"]

    def wait(self, container: str, condition: str = "not-running") -> int:
        """The exit code, once `condition` holds."""
        reply = self.call("POST", f"/containers/{container}/wait", condition=condition)
        return int(reply["StatusCode"])

    def remove(self, container: str) -> None:
        """Remove by force."""
        self.call("DELETE", f"/containers/{container}", force="1")

    def containers(self) -> Json:
        """All containers, running or not."""
        return self.call("GET", "/containers/json", all="1")

    def logs(self, container: str, **query: str | int) -> bytes:
        """Both streams of the log in order, without their frames (no TTY)."""
        options: dict[str, str | int] = {"stdout": 1, "stderr": 1, **query}
        reply = self.send("GET", f"/containers/{container}/logs", None, **options)
        if reply.status != 200:
            raise ApiError(reply.status, reply.message)
        return b"".join(data for _, data in frames(reply.body))


def frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Docker's multiplexed stream as (stream, data): 1 byte stream, 3 zero, 4 length."""
    view = memoryview(body)
    offset = 0
    while offset < len(view):
        header = view[offset : offset + 8]
        assert len(header) == 8, "stream ends within a frame header"
        assert header[0] in (1, 2), f"not a stream: {header[0]}"
        length = int.from_bytes(header[4:8], "big")
        data = bytes(view[offset + 8 : offset + 8 + length])
        assert len(data) == length, "stream ends within a frame"
        yield header[0], data
        offset += 8 + length
