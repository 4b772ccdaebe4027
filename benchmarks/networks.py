"""Networks beside dockerd: one command, `python -m benchmarks.networks`, as root.

Both engines run at once, each on a machine of its own that is a network namespace with a veth
pair to another host; each measurement is taken of the one and of the other in turn.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import wire
from benchmarks.report import Report, Row
from tests.support.daemon import AiodDaemon
from tests.support.dockerd import Dockerd
from tests.support.engine import Engine
from tests.support.netns import Lan, Namespace
from tests.support.playground import FOREVER, Box, Playground, Site

ECHO = 5202
PUBLISHED = {wire.PORT: 15201, ECHO: 15202}
_INTRODUCTION = """\
Written by `python -m benchmarks.networks`. Each engine has a machine of its own, a network
namespace with a veth pair to a switch, on which there is another host; both run at once and
are measured in turn, the figures being medians. A start is the call that starts a container which
was created before. Throughput is that of one TCP stream of iperf3, latency that of one byte
there and back on an open connection, both between two containers of one network of their own,
from another host through a published port, and from the machine through the same port by its
loopback.
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """One engine's medians: milliseconds, Gbit/s, microseconds."""

    engine: str
    version: str
    start_none_ms: float
    start_bridge_ms: float
    start_published_ms: float
    start_own_ms: float
    starts_per_second: float
    between_gbit: float
    published_gbit: float
    loopback_gbit: float
    between_us: float
    published_us: float
    loopback_us: float
    between_connect_us: float
    published_connect_us: float
    loopback_connect_us: float


ROWS = [
    Row[Figures]("start with network `none`, ms", lambda one: one.start_none_ms),
    Row[Figures]("start on the default bridge, ms", lambda one: one.start_bridge_ms),
    Row[Figures]("start on it with a published port, ms", lambda one: one.start_published_ms),
    Row[Figures]("start on a network of one's own, ms", lambda one: one.start_own_ms),
    Row[Figures]("starts per second on one bridge, 8 at once", lambda one: one.starts_per_second,
                 True),
    Row[Figures]("throughput between two containers, Gbit/s", lambda one: one.between_gbit, True),
    Row[Figures]("through a published port from another host", lambda one: one.published_gbit,
                 True),
    Row[Figures]("through it by the loopback", lambda one: one.loopback_gbit, True),
    Row[Figures]("latency between two containers, µs", lambda one: one.between_us),
    Row[Figures]("through a published port from another host", lambda one: one.published_us),
    Row[Figures]("through it by the loopback", lambda one: one.loopback_us),
    Row[Figures]("connect and one byte, between two containers, µs",
                 lambda one: one.between_connect_us),
    Row[Figures]("through a published port from another host",
                 lambda one: one.published_connect_us),
    Row[Figures]("through it by the loopback", lambda one: one.loopback_connect_us),
]  # fmt: skip


class Subject:
    """One engine on its machine, with two containers of which one has published ports."""

    def __init__(self, ground: Playground) -> None:
        self.ground = ground
        self.engine = ground.engine
        self.network = ground.network()
        self._server = self._published()
        self._client = ground.start(ground.create(self.network), answers=False)
        self.samples: defaultdict[str, list[float]] = defaultdict(list)

    def _published(self) -> Box:
        ports = {f"{inner}/tcp": [{"HostPort": str(outer)}] for inner, outer in PUBLISHED.items()}
        exposed: dict[str, dict[str, str]] = {port: {} for port in ports}
        name = self.ground.create(self.network, host={"PortBindings": ports}, ExposedPorts=exposed)
        return self.ground.start(name, answers=False)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The server gives bytes back."""
        with wire.Echo(self._server.namespace, ECHO):
            yield

    def ways(self, port: int) -> dict[str, tuple[Namespace, str, int]]:
        """From where, to what address and port."""
        machine = self.ground.machine
        return {
            "between": (self._client.namespace, self._server.ip4(self.network), port),
            "published": (self.ground.neighbour, machine.ip4, PUBLISHED[port]),
            "loopback": (machine, "127.0.0.1", PUBLISHED[port]),
        }

    def start(self, kind: str, network: str, published: bool = False) -> None:
        """Time one start."""
        ports = {"80/tcp": [{"HostPort": ""}]} if published else {}
        exposed: dict[str, dict[str, str]] = {port: {} for port in ports}
        with self.engine.api() as api:
            name = api.create(
                Image="base",
                Cmd=list(FOREVER),
                HostConfig={"NetworkMode": network, "PortBindings": ports},
                ExposedPorts=exposed,
            )
            begin = time.perf_counter()
            api.start(name)
            self.samples[f"start_{kind}_ms"].append((time.perf_counter() - begin) * 1e3)
            api.remove(name)

    def start_at_once(self, count: int) -> None:
        """Time starts by eight clients."""
        with self.engine.api() as api:
            names = [
                api.create(Image="base", Cmd=list(FOREVER), HostConfig={"NetworkMode": "bridge"})
                for _ in range(count)
            ]

        def start(name: str) -> None:
            with self.engine.api(timeout=300) as api:
                api.start(name)

        begin = time.perf_counter()
        with ThreadPoolExecutor(8) as workers:
            list(workers.map(start, names))
        self.samples["starts_per_second"].append(count / (time.perf_counter() - begin))
        with self.engine.api(timeout=300) as api:
            for name in names:
                api.remove(name)

    def throughput(self, seconds: float) -> None:
        """One stream each way."""
        for way, (where, address, port) in self.ways(wire.PORT).items():
            rate = wire.gigabits(self._server.namespace, where, address, port, seconds)
            self.samples[f"{way}_gbit"].append(rate)

    def latency(self, count: int) -> None:
        """Many bytes each way, and some connections."""
        for way, (where, address, port) in self.ways(ECHO).items():
            self.samples[f"{way}_us"] += wire.round_trips(where, address, port, count)
            connects = wire.connections(where, address, port, count // 10)
            self.samples[f"{way}_connect_us"] += connects

    def figures(self) -> Figures:
        """The medians."""
        with self.engine.api() as api:
            version = str(api.call("GET", "/version")["Version"])
        medians = {name: statistics.median(samples) for name, samples in self.samples.items()}
        return Figures(engine=self.engine.name, version=version, **medians)


def _in_turn(
    title: str, rounds: int, subjects: list[Subject], do: Callable[[Subject], None]
) -> None:
    print(f"{title} …", file=sys.stderr)
    for number in range(rounds):
        for subject in subjects[:: -1 if number % 2 else 1]:
            do(subject)


def _starts(subjects: list[Subject], rounds: int) -> None:
    for subject in subjects:  # what only the first start makes
        for network in ("none", "bridge", subject.network):
            subject.start("warming", network)
        del subject.samples["start_warming_ms"]
    _in_turn("none", rounds, subjects, lambda one: one.start("none", "none"))
    _in_turn("bridge", rounds, subjects, lambda one: one.start("bridge", "bridge"))
    _in_turn("published", rounds, subjects, lambda one: one.start("published", "bridge", True))
    _in_turn("own", rounds, subjects, lambda one: one.start("own", one.network))


def _measure(subjects: list[Subject], quick: bool) -> list[Figures]:
    _starts(subjects, 5 if quick else 40)
    _in_turn("at once", 1 if quick else 3, subjects, lambda one: one.start_at_once(32))
    with ExitStack() as stack:
        for subject in subjects:
            stack.enter_context(subject.serving())
        rounds, seconds = (2, 1) if quick else (7, 3)
        _in_turn("throughput", rounds, subjects, lambda one: one.throughput(seconds))
        _in_turn("latency", rounds, subjects, lambda one: one.latency(2000))
    return [subject.figures() for subject in subjects]


def _site(engine: Engine, stack: ExitStack) -> Subject:
    lan = stack.enter_context(Lan())
    site = stack.enter_context(Site(engine, lan))
    stack.callback(engine.destroy)
    engine.start()
    engine.ensure_base()
    return Subject(stack.enter_context(Playground(site)))


def main() -> int:
    """Measure, print the table, and write NETWORKS.md and networks.json unless --quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds; write nothing")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root")
    scratch = Path(tempfile.mkdtemp(prefix="ab", dir="/tmp"))
    try:
        with ExitStack() as stack:
            subjects = [_site(kind(scratch / kind.name), stack) for kind in (AiodDaemon, Dockerd)]
            figures = _measure(subjects, options.quick)
    finally:
        shutil.rmtree(scratch)
    report = Report(_INTRODUCTION, ROWS, figures, [])
    print(report.table() if options.quick else report.write(Path(__file__).parent, "NETWORKS"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
