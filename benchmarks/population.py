"""Questions about many containers, beside dockerd: `python -m benchmarks.population`, as root.

Every engine has the same population, 2,000 stopped and 200 running, made by the same calls.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import IMAGE, timed
from benchmarks.report import Report, Row
from tests.support import rootfs
from tests.support.daemon import AiodDaemon
from tests.support.dockerd import Dockerd
from tests.support.engine import Engine
from tests.support.http import Api

_ROUNDS = 40
_WORKERS = 8
_LABELS = 10
_INTRODUCTION = """\
Written by `python -m benchmarks.population`: the medians, in milliseconds, of calls to an engine
that has {stopped} stopped and {running} running containers; one blocking client, over the
engine's unix socket. Answers are read whole and not decoded.
"""


@dataclass(frozen=True)
class Answers:
    """Medians in milliseconds, by call."""

    engine: str
    version: str
    calls: dict[str, float] = field(default_factory=dict)


def _filters(**chosen: list[str]) -> str:
    return json.dumps(chosen)


def questions(since: float, until: float) -> dict[str, Callable[[Api], object]]:
    """What is asked, by what it is called in the table; times bound the events."""

    def listed(**query: str) -> Callable[[Api], object]:
        return lambda api: api.send("GET", "/containers/json", **query)

    return {
        "list all": listed(all="1"),
        "list those that run": listed(),
        "list the last 20": listed(all="1", limit="20"),
        "filter: status=exited": listed(all="1", filters=_filters(status=["exited"])),
        "filter: label, a tenth": listed(all="1", filters=_filters(label=["tenth=3"])),
        "filter: one name": listed(all="1", filters=_filters(name=["s-1234"])),
        "filter: ancestor": listed(all="1", filters=_filters(ancestor=[IMAGE], status=["running"])),
        "inspect, stopped, by name": lambda api: api.send("GET", "/containers/s-77/json"),
        "inspect, running, by name": lambda api: api.send("GET", "/containers/r-7/json"),
        "events of the last start": lambda api: api.send(
            "GET", "/events", since=f"{since:.3f}", until=f"{until:.3f}",
            filters=_filters(type=["container"]),
        ),
    }  # fmt: skip


def _populate(engine: Engine, stopped: int, running: int) -> None:
    local = threading.local()

    def client() -> Api:
        if not hasattr(local, "api"):
            local.api = engine.api(timeout=300)
        api: Api = local.api
        return api

    def stop(number: int) -> None:
        label = {"tenth": str(number % _LABELS)}
        name = client().create(f"s-{number}", Image=IMAGE, Cmd=["/bin/true"], Labels=label)
        client().start(name)
        client().wait(name)

    def run(number: int) -> None:
        name = client().create(f"r-{number}", Image=IMAGE, Cmd=["/bin/sleep", "100000"])
        client().start(name)

    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(stop, range(stopped)))
        list(pool.map(run, range(running)))


def measure(engine: Engine, archive: bytes, stopped: int, running: int) -> Answers:
    """All questions to one engine."""
    try:
        engine.start()
        engine.load(archive)
        _populate(engine, stopped, running)
        with engine.api(timeout=300) as api:
            since = time.time()
            api.start(api.create("one-more", Image=IMAGE, Cmd=["/bin/true"]))
            api.wait("one-more")
            calls = {}
            for title, ask in questions(since, time.time()).items():
                ask(api)
                samples = [timed(lambda ask=ask: ask(api)) for _ in range(_ROUNDS)]  # type: ignore[misc]
                calls[title] = statistics.median(samples) * 1000
            version = str(api.call("GET", "/version")["Version"])
        return Answers(engine.name, version, calls)
    finally:
        engine.destroy()


def main() -> int:
    """Measure, print the table, and write POPULATION.md and population.json unless --quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it; write nothing")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root")
    stopped, running = (200, 20) if options.quick else (2000, 200)
    archive = rootfs.docker_archive(IMAGE, [rootfs.busybox_tar()])
    scratch = Path(tempfile.mkdtemp(prefix="ab", dir="/tmp"))
    figures = []
    try:
        for kind in (AiodDaemon, Dockerd):
            print(f"{kind.name} …", file=sys.stderr)
            figures.append(measure(kind(scratch / kind.name), archive, stopped, running))
    finally:
        shutil.rmtree(scratch)
    rows = [Row[Answers](title, lambda one, t=title: one.calls[t]) for title in figures[0].calls]  # type: ignore[misc]
    report = Report(_INTRODUCTION.format(stopped=stopped, running=running), rows, figures, [])
    print(report.table() if options.quick else report.write(Path(__file__).parent, "POPULATION"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
