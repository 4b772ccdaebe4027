"""Pulling beside dockerd, skopeo and Podman: one command, `python -m benchmarks.images`, as root.

Makes an image of 12 layers and 400 MB and a second one that shares 11 of them, has Debian's
registry serve both on loopback, and has everyone pull both into an empty directory.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bigimage, pulls
from benchmarks.report import Absent, Report, Row
from tests.support.binaries import find
from tests.support.daemon import AiodDaemon
from tests.support.dockerd import Dockerd
from tests.support.registry import Registry

_PULLERS: dict[str, Callable[[Path], pulls.Puller]] = {
    "aiod": lambda base: pulls.EnginePuller(AiodDaemon(base)),
    "dockerd": lambda base: pulls.EnginePuller(Dockerd(base)),
    "skopeo": lambda base: pulls.Skopeo("skopeo", base),
    "podman": lambda base: pulls.Podman("podman", base),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """One engine's first pull and the second one, of which it had all layers but one."""

    engine: str
    version: str
    first: pulls.Pull
    second: pulls.Pull


ROWS = [
    Row[Figures]("pull and unpack, s", lambda one: one.first.seconds),
    Row[Figures]("layers transferred", lambda one: one.first.transferred.layers, compared=False),
    Row[Figures]("MB transferred", lambda one: one.first.transferred.megabytes, compared=False),
    Row[Figures]("peak memory of the puller, MiB", lambda one: one.first.peak),
    Row[Figures]("the same with its children, MiB", lambda one: one.first.tree),
    Row[Figures]("pull of the second image, s", lambda one: one.second.seconds),
    Row[Figures]("layers transferred", lambda one: one.second.transferred.layers, compared=False),
    Row[Figures]("MB transferred", lambda one: one.second.transferred.megabytes, compared=False),
]


class Bench:
    """One image and everyone who pulls it, round after round."""

    def __init__(self, scratch: Path, size: int) -> None:
        self._scratch = scratch
        print("making the image …", file=sys.stderr)
        self.image = bigimage.make(scratch / "image", size)
        self._count = 0
        self.figures: dict[str, Figures] = {}
        self.absent: dict[str, Absent] = {}

    def run(self, names: list[str], rounds: int) -> None:
        """Everyone in turn, in every round from a different one on."""
        with ExitStack() as stack:
            registry = stack.enter_context(Registry(self._scratch / "registry"))
            self._push(registry)
            for number in range(rounds):
                for name in [*names[number % len(names) :], *names[: number % len(names)]]:
                    if name not in self.absent:
                        self._try(name, registry, stack)

    def _push(self, registry: Registry) -> None:
        for tag in ("first", "second"):
            source, target = f"oci:{self.image.layout}:{tag}", f"{registry.address}/{pulls.NAME}"
            command = ["skopeo", "copy", "-q", "--dest-tls-verify=false", source]
            subprocess.run([*command, f"docker://{target}:{tag}"], check=True)

    def _try(self, name: str, registry: Registry, stack: ExitStack) -> None:
        """Whoever cannot do it here is left out with the reason; aiod may not."""
        if find(name) is None and name != "aiod":
            self.absent[name] = Absent(name, "not installed")
            return
        print(f"{name} …", file=sys.stderr)
        self._count += 1
        puller = _PULLERS[name](self._scratch / str(self._count))
        stack.callback(puller.clean_up)
        try:
            found = self._once(puller, registry)
        except Exception as error:
            if name == "aiod":
                raise
            self.absent[name] = Absent(name, f"does not run here: {error}")
            return
        known = self.figures.get(name, found)
        self.figures[name] = Figures(
            name, found.version, _best(known.first, found.first), _best(known.second, found.second)
        )

    def _once(self, puller: pulls.Puller, registry: Registry) -> Figures:
        first, second = ({one.digest for one in each} for each in self._images())
        puller.start()
        try:
            version = puller.version
            return Figures(
                puller.name,
                version,
                pulls.measured(puller, registry, "first", first),
                pulls.measured(puller, registry, "second", second),
            )
        finally:
            puller.stop()

    def _images(self) -> tuple[tuple[bigimage.Layer, ...], ...]:
        return self.image.first, self.image.second


def _best(one: pulls.Pull, other: pulls.Pull) -> pulls.Pull:
    """The shorter time with the larger memory and transfer, so that no round hides a peak."""
    return pulls.Pull(
        min(one.seconds, other.seconds),
        max(one.peak, other.peak),
        None if one.tree is None or other.tree is None else max(one.tree, other.tree),
        max(one.transferred, other.transferred, key=lambda sent: sent.megabytes),
    )


def _report(bench: Bench, names: list[str], rounds: int) -> Report[Figures]:
    image = bench.image
    introduction = (
        "Written by `python -m benchmarks.images`. Everyone pulls the same image from the same\n"
        "registry on loopback into an empty directory, then a second image that shares all\n"
        f"layers but one: {len(image.first)} layers of {image.size / 1e6:.0f} MB in "
        f"{image.files} files and directories,\n{image.compressed / 1e6:.0f} MB compressed. "
        "What was transferred is taken from the registry's log. `skopeo copy`\n"
        f"writes an OCI layout and unpacks nothing. The shortest time of {rounds} rounds, and the\n"
        "largest memory.\n"
    )
    found = [bench.figures[name] for name in names if name in bench.figures]
    return Report(introduction, ROWS, found, list(bench.absent.values()))


def main() -> int:
    """Measure, print the table, and write IMAGES.md and images.json unless --quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size; write nothing")
    parser.add_argument("--rounds", type=int, default=3, help="how often everyone pulls (3)")
    parser.add_argument("--peers", nargs="*", default=["dockerd", "skopeo", "podman"])
    parser.add_argument("--scratch", type=Path, default=Path("/tmp"), help="where to work (/tmp)")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root")
    names = ["aiod", *options.peers]
    scratch = Path(tempfile.mkdtemp(prefix="ab", dir=options.scratch))
    try:
        bench = Bench(scratch, bigimage.SIZE // 10 if options.quick else bigimage.SIZE)
        bench.run(names, options.rounds)
    finally:
        shutil.rmtree(scratch)
    report = _report(bench, names, options.rounds)
    print(report.table() if options.quick else report.write(Path(__file__).parent, "IMAGES"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
