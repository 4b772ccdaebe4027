"""Containers beside dockerd, Podman, runc and crun: `python -m benchmarks.run`, as root."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import measure
from benchmarks.measure import Figures
from benchmarks.peers import OciBundle, PodmanService
from benchmarks.report import Absent, Report, Row
from tests.support import rootfs
from tests.support.binaries import find
from tests.support.daemon import AiodDaemon
from tests.support.dockerd import Dockerd
from tests.support.engine import Engine

ROWS = [
    Row[Figures]("create + start + wait of `/bin/true`, p50, ms", lambda one: one.run_p50_ms),
    Row[Figures]("the same, p90, ms", lambda one: one.run_p90_ms),
    Row[Figures]("containers per second, 16 at once", lambda one: one.per_second_at_16, True),
    Row[Figures]("shim PSS with 50 running, median, MiB", lambda one: one.shim_pss_mib),
    Row[Figures]("list of 100 containers, p50, ms", lambda one: one.list_100_ms),
]

_INTRODUCTION = """\
Written by `python -m benchmarks.run`. Every engine runs the same root filesystem with
network `none`, and is asked by the same blocking client over its unix socket;
containers are removed off the clock, except in the throughput. `runc run` and `crun run` are
a process for each container on a plain directory, with no engine and no overlay.
"""


class Bench:
    """All measurements, of aiod and of those peers that run on this machine."""

    def __init__(self, scratch: Path, quick: bool) -> None:
        self._scratch = scratch
        self._quick = quick
        self._layer = rootfs.busybox_tar()
        self._archive = rootfs.docker_archive(measure.IMAGE, [self._layer])

    def measure(self, name: str) -> Figures:
        """One peer, or aiod."""
        engines: dict[str, Callable[[Path], Engine]] = {
            "aiod": AiodDaemon,
            "dockerd": Dockerd,
            "podman": PodmanService,
        }
        base = self._scratch / name
        return self._engine(engines[name](base)) if name in engines else self._runtime(name)

    def _engine(self, engine: Engine) -> Figures:
        try:
            engine.start()
            engine.load(self._archive)
            parallel = 320 if engine.name == "aiod" else 64
            runs, parallel = (10, 32) if self._quick else (50, parallel)
            return measure.engine_figures(engine, runs, parallel)
        finally:
            engine.destroy()

    def _runtime(self, name: str) -> Figures:
        bundle = OciBundle(self._scratch / f"aiod-bench-{name}", name, self._layer, ["/bin/true"])
        try:
            return measure.bundle_figures(bundle, 10 if self._quick else 50)
        finally:
            bundle.clean_up()


def _all(bench: Bench, peers: list[str]) -> Report[Figures]:
    """Whoever cannot run here is left out with the reason; aiod may not."""
    print("aiod …", file=sys.stderr)
    figures, absent = [bench.measure("aiod")], []
    for name in peers:
        print(f"{name} …", file=sys.stderr)
        if find(name) is None:
            absent.append(Absent(name, "not installed"))
            continue
        try:
            figures.append(bench.measure(name))
        except Exception as error:
            absent.append(Absent(name, f"does not run here: {error}"))
    return Report(_INTRODUCTION, ROWS, figures, absent)


def main() -> int:
    """Measure, print the table, and write RESULTS.md and results.json unless --quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs; write nothing")
    parser.add_argument("--peers", nargs="*", default=["dockerd", "podman", "runc", "crun"])
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root")
    scratch = Path(tempfile.mkdtemp(prefix="ab", dir="/tmp"))
    try:
        report = _all(Bench(scratch, options.quick), options.peers)
    finally:
        shutil.rmtree(scratch)
    print(report.table() if options.quick else report.write(Path(__file__).parent, "RESULTS"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
