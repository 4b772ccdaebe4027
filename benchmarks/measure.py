"""The measurements, each the same calls through the same client whichever engine answers."""

import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.peers import OciBundle
from tests.support.daemon import AiodDaemon
from tests.support.engine import Engine
from tests.support.http import Api
from tests.support.processes import command_line, pss_kib, running_pids
from tests.support.witness import shim_of

IMAGE = "bench:1"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one engine did; None where it does not apply."""

    engine: str
    version: str
    run_p50_ms: float
    run_p90_ms: float
    per_second_at_16: float | None = None
    shim_pss_mib: float | None = None
    list_100_ms: float | None = None


def percentiles(samples: list[float]) -> tuple[float, float]:
    """The median and the 90th percentile, in milliseconds, of seconds."""
    cut = statistics.quantiles(samples, n=10)
    return statistics.median(samples) * 1000, cut[8] * 1000


def timed(action: Callable[[], object]) -> float:
    """Seconds that `action` took."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def run_once(api: Api) -> str:
    """Create, start and wait for /bin/true; returns the id, to be removed off the clock."""
    container = api.create(Image=IMAGE, Cmd=["/bin/true"])
    api.start(container)
    if (code := api.wait(container)) != 0:
        raise RuntimeError(f"/bin/true ended with {code}")
    return container


def latency(engine: Engine, count: int) -> list[float]:
    """Seconds of `count` runs, one after the other, after three that warm up."""
    samples = []
    with engine.api() as api:
        for number in range(count + 3):
            begin = time.perf_counter()
            container = run_once(api)
            if number >= 3:
                samples.append(time.perf_counter() - begin)
            api.remove(container)
    return samples


def throughput(engine: Engine, count: int, workers: int = 16) -> float:
    """Containers created, started, waited for and removed in a second by `workers` clients."""
    local = threading.local()
    clients: list[Api] = []

    def one(_: int) -> None:
        if not hasattr(local, "api"):
            local.api = engine.api(timeout=300)
            clients.append(local.api)
        local.api.remove(run_once(local.api))

    with ThreadPoolExecutor(workers) as pool:
        seconds = timed(lambda: list(pool.map(one, range(count))))
    for client in clients:
        client.close()
    return count / seconds


def shim_pids(engine: Engine, containers: list[str]) -> list[int]:
    """The process that supervises each container."""
    if isinstance(engine, AiodDaemon):
        return [shim_of(engine, container).pid for container in containers]
    name = {"dockerd": "containerd-shim", "podman": "conmon"}[engine.name]
    return [
        pid
        for pid in running_pids()
        if name in command_line(pid).split(" ")[0] and str(engine.base) in command_line(pid)
    ]


def shim_memory(engine: Engine, count: int = 50) -> float:
    """Median PSS in MiB of the shims of `count` running containers."""
    with engine.api(timeout=300) as api:
        containers = [api.run("sleep", "100000", image=IMAGE) for _ in range(count)]
        pids = shim_pids(engine, containers)
        if len(pids) != count:
            raise RuntimeError(f"{len(pids)} shims for {count} containers")
        median = statistics.median(pss_kib(pid) for pid in pids) / 1024
        for container in containers:
            api.remove(container)
    return median


def listing(engine: Engine, count: int = 100, samples: int = 50) -> float:
    """Median milliseconds of a list of `count` containers."""
    with engine.api(timeout=300) as api:
        containers = [api.create(Image=IMAGE, Cmd=["/bin/true"]) for _ in range(count)]
        if len(api.containers()) != count:
            raise RuntimeError("there are other containers")
        median = statistics.median(timed(api.containers) for _ in range(samples)) * 1000
        for container in containers:
            api.remove(container)
    return median


def engine_figures(engine: Engine, runs: int, parallel: int) -> Figures:
    """All measurements of one running engine that has IMAGE."""
    with engine.api() as api:
        version = str(api.call("GET", "/version")["Version"])
    p50, p90 = percentiles(latency(engine, runs))
    return Figures(
        engine=engine.name,
        version=version,
        run_p50_ms=p50,
        run_p90_ms=p90,
        per_second_at_16=throughput(engine, parallel),
        shim_pss_mib=shim_memory(engine),
        list_100_ms=listing(engine),
    )


def bundle_figures(bundle: OciBundle, runs: int) -> Figures:
    """The floor: an OCI runtime's `run`, nothing around it."""
    for _ in range(3):
        bundle.run()
    p50, p90 = percentiles([timed(bundle.run) for _ in range(runs)])
    return Figures(f"{bundle.runtime} run", bundle.version(), p50, p90)
