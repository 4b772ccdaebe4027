"""Networks and containers of one test on one machine, reached from beside it; gone at its end.

Must not know which engine runs there.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.binaries import require
from tests.support.daemon import AiodDaemon
from tests.support.engine import Engine, eventually
from tests.support.http import Api, ApiError
from tests.support.nameserver import NameServer
from tests.support.netns import Host, Lan, Namespace, Trace
from tests.support.processes import Identity
from tests.support.traffic import TCP, Answer, Servers, ask, silent

FOREVER = ("sleep", "1000000")
PORT = 80


class Site:
    """A machine on which an engine is to run, and another host on the same switch.

    The neighbour is the name server too, inside `with`.
    """

    def __init__(self, engine: Engine, lan: Lan) -> None:
        self.engine = engine
        self.machine: Host = lan.host()
        self.neighbour: Host = lan.host()
        engine.namespace = self.machine
        self._names = NameServer(self.neighbour, self.neighbour.ip4)

    @property
    def daemon(self) -> AiodDaemon:
        """The engine, where it can only be aiod."""
        assert isinstance(self.engine, AiodDaemon)
        return self.engine

    def __enter__(self) -> Self:
        self._names.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._names.__exit__(None, None, None)


@contextlib.contextmanager
def aiod_on_its_own(scratch: Path) -> Iterator[Site]:
    """A running aiod on a machine of its own, with another host beside it."""
    daemon = AiodDaemon(scratch / f"m{time.monotonic_ns() % 10**6}")
    with Lan() as lan, Site(daemon, lan) as site:
        try:
            daemon.start()
            yield site
        finally:
            daemon.destroy()


@dataclass(frozen=True, slots=True)
class Box:
    """A running container."""

    id: str
    name: str
    namespace: Namespace
    init: Identity
    api: Api

    def endpoint(self, network: str) -> dict[str, Any]:
        """What inspect tells of its end of a network."""
        networks: dict[str, dict[str, Any]] = self.api.inspect(self.id)["NetworkSettings"][
            "Networks"
        ]
        return networks[network]

    def ip4(self, network: str) -> str:
        """Its address in a network."""
        return str(self.endpoint(network)["IPAddress"])

    def ip6(self, network: str) -> str:
        """Its IPv6 address in a network."""
        return str(self.endpoint(network)["GlobalIPv6Address"])

    def ask(self, address: str, port: int = PORT, kind: int = TCP) -> Answer:
        """Who answers there."""
        return ask(self.namespace, address, port, kind)

    def reaches(self, address: str, port: int = PORT, kind: int = TCP) -> bool:
        """Whether anyone answers there, without much patience."""
        return not silent(self.namespace, address, port, kind)

    def look_up(self, name: str, kind: str = "A") -> list[str]:
        """What its resolver answers, in order; of a name that it does not know, nothing."""
        asked = ("-x", name) if kind == "PTR" else (name, kind)
        dig = (require("dig"), "@127.0.0.11", "+short", "+search", "+tries=2", "+time=5")
        return self.namespace.run(*dig, *asked).split()

    def addresses(self) -> set[str]:
        """All addresses of its links that others can reach."""
        return {
            address["local"]
            for link in self.namespace.shown("address")
            for address in link["addr_info"]
            if address["scope"] == "global"
        }


class Playground:
    """Use as a context manager; what it made goes at the end, whatever happened."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.engine = site.engine
        self.machine, self.neighbour = site.machine, site.neighbour
        self.servers = Servers()
        self.api = self.engine.api()
        self._networks: list[str] = []
        self._boxes: list[Box] = []
        self._containers: list[str] = []

    def name(self, kind: str) -> str:
        """A name nobody else uses."""
        return f"{kind}{time.monotonic_ns()}"

    def network(self, **config: Any) -> str:
        """Create a network; its name."""
        name = config.setdefault("Name", self.name("n"))
        self._networks.append(name)
        self.api.call("POST", "/networks/create", {"CheckDuplicate": True, **config})
        return str(name)

    def create(
        self,
        network: str,
        *command: str,
        name: str = "",
        endpoint: dict[str, Any] | None = None,
        host: dict[str, Any] | None = None,
        **config: Any,
    ) -> str:
        """Create a container whose names the neighbour knows; its name."""
        name = name or self.name("c")
        self._containers.append(name)
        if endpoint is not None:
            config["NetworkingConfig"] = {"EndpointsConfig": {network: endpoint}}
        self.api.create(
            name,
            Image="base",
            Cmd=list(command or FOREVER),
            HostConfig={"NetworkMode": network, **self._names_of(network), **(host or {})},
            **config,
        )
        return name

    def _names_of(self, network: str) -> dict[str, list[str]]:
        return {} if network.startswith("container:") else {"Dns": [self.neighbour.ip4]}

    def run(self, network: str, *command: str, **options: Any) -> Box:
        """Create and start a container; it answers at port 80 with its name."""
        name = self.create(network, *command, **options)
        return self.start(name)

    def start(self, name: str, answers: bool = True) -> Box:
        """Start a container that was created."""
        self.api.start(name)
        box = self.box(name)
        if answers:
            self.servers.add(box.namespace, name)
        return box

    def box(self, name: str) -> Box:
        """A running container."""
        found = self.api.inspect(name)
        pid = found["State"]["Pid"]
        box = Box(found["Id"], name, Namespace.of(pid), Identity.of(pid), self.api)
        self._boxes.append(box)
        return box

    def published(self, *ports: str, network: str = "bridge", **bindings: str) -> Box:
        """Run a container with ports published, as `{"8080": "80/tcp"}` says by keyword."""
        wanted: dict[str, list[dict[str, str]]] = {}
        for container in ports:
            wanted.setdefault(container, []).append({"HostIp": "", "HostPort": ""})
        for host, container in bindings.items():
            wanted.setdefault(container, []).append({"HostPort": host.removeprefix("p")})
        exposed: dict[str, dict[str, str]] = {port: {} for port in wanted}
        return self.run(network, host={"PortBindings": wanted}, ExposedPorts=exposed)

    def end(self, container: str) -> None:
        """Kill a container, and wait until it has none of its networks any more.

        dockerd tells of an end before it lets go of them, but shows the container only afterwards.
        """
        self.api.call("POST", f"/containers/{container}/kill")
        self.api.wait(container)
        self.api.inspect(container)

    def remove(self, box: Box) -> None:
        """Remove a running container."""
        self.leave(box)
        self.api.remove(box.id)

    def leave(self, box: Box) -> None:
        """Let go of a container's namespace, whose links go with the last who holds it."""
        self.servers.leave(box.namespace)
        box.namespace.close()

    def assert_as(self, before: Trace) -> None:
        """The machine has what it had; the kernel is a moment behind with links of the dead."""
        eventually(lambda: self.machine.trace().since(before), lambda new: not new)

    def published_later(self, network: str, port: str) -> str:
        """Create a container whose port 80 is to be the machine's `port`; its name."""
        bindings = {"80/tcp": [{"HostPort": port}]}
        host = {"PortBindings": bindings}
        return self.create(network, host=host, ExposedPorts={"80/tcp": {}})

    def by_command(self, *flags: str) -> Box:
        """Run a container with the docker command."""
        self._containers.append(self.name("c"))
        name = self._containers[-1]
        self.engine.docker("run", "-d", "--name", name, *flags, "base", *FOREVER)
        return self.box(name)

    def connect(self, network: str, container: str, **endpoint: Any) -> None:
        """Connect a container."""
        body = {"Container": container, "EndpointConfig": endpoint}
        self.api.call("POST", f"/networks/{network}/connect", body)

    def disconnect(self, network: str, container: str) -> None:
        """Disconnect it."""
        self.api.call("POST", f"/networks/{network}/disconnect", {"Container": container})

    def members(self, network: str) -> dict[str, str]:
        """The names of the running containers in a network, and their addresses."""
        found = self.api.call("GET", f"/networks/{network}")
        return {
            one["Name"]: one["IPv4Address"].split("/")[0] for one in found["Containers"].values()
        }

    def __enter__(self) -> Self:
        self.servers.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self.api.close)
            stack.callback(self.servers.__exit__, None, None, None)
            for box in self._boxes:
                stack.callback(box.namespace.close)
            for network in self._networks:
                stack.callback(self._remove, f"/networks/{network}")
            for container in self._containers:
                stack.callback(self._remove, f"/containers/{container}?force=1&v=1")

    def _remove(self, path: str) -> None:
        """Whether or not it is still there."""
        with contextlib.suppress(ApiError, OSError), self.engine.api() as api:
            api.call("DELETE", path)
