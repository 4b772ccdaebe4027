"""One command for all figures: `python -m benchmarks.run`, as root."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import measure, report
from benchmarks.peers import PodmanService, RuncBundle
from tests.support import rootfs
from tests.support.binaries import find
from tests.support.daemon import AiodDaemon
from tests.support.dockerd import Dockerd
from tests.support.engine import Engine


def _measure_engine(engine: Engine, archive: bytes, quick: bool) -> measure.Figures:
    try:
        engine.start()
        engine.load(archive)
        slow = engine.name != "aiod"
        runs, parallel = (10, 32) if quick else (50, 64 if slow else 320)
        return measure.engine_figures(engine, runs, parallel)
    finally:
        engine.destroy()


def _podman_waits(engine: PodmanService, archive: bytes, quick: bool) -> measure.Figures | None:
    """Podman as far as this machine lets it run; the reason is printed, the others go on."""
    try:
        return _measure_engine(engine, archive, quick)
    except Exception as error:
        print(f"podman is left out: {error}", file=sys.stderr)
        return None


def _figures(scratch: Path, quick: bool, peers: list[str]) -> Iterator[measure.Figures]:
    layer = rootfs.busybox_tar()
    archive = rootfs.docker_archive(measure.IMAGE, [layer])
    print("aiod …", file=sys.stderr)
    yield _measure_engine(AiodDaemon(scratch / "a"), archive, quick)
    if "dockerd" in peers and find("dockerd"):
        print("dockerd …", file=sys.stderr)
        yield _measure_engine(Dockerd(scratch / "d"), archive, quick)
    if "podman" in peers and find("podman"):
        print("podman …", file=sys.stderr)
        one = _podman_waits(PodmanService(scratch / "p"), archive, quick)
        if one is not None:
            yield one
    if "runc" in peers and (runc := find("runc")):
        print("runc …", file=sys.stderr)
        said = subprocess.run([runc, "--version"], capture_output=True, text=True, check=True)
        bundle = RuncBundle(scratch / "aiod-bench", layer, ["/bin/true"])
        try:
            version = said.stdout.split()[2]
            yield measure.runc_figures(bundle, version, 10 if quick else 50)
        finally:
            bundle.clean_up()


def main() -> int:
    """Measure, print the table, and write RESULTS.md and results.json unless --quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs; write nothing")
    parser.add_argument("--peers", nargs="*", default=["dockerd", "podman", "runc"])
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root")
    scratch = Path(tempfile.mkdtemp(prefix="ab", dir="/tmp"))
    try:
        figures = list(_figures(scratch, options.quick, options.peers))
    finally:
        shutil.rmtree(scratch)
    if options.quick:
        print(report.table(figures))
    else:
        print(report.write(figures, Path(__file__).parent))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
