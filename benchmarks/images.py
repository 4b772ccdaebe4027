"""Pull and unpack beside dockerd and skopeo: `python -m benchmarks.images`.

One image of 12 layers and 400 MB, made of this machine's own files, from a registry on the
loopback. The engines take turns; then a second image that shares 11 of the layers is pulled.
Needs root, dockerd, skopeo and docker-registry.
"""

import argparse
import gzip
import io
import json
import os
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.binaries import require
from tests.support.daemon import AiodDaemon
from tests.support.dockerd import Dockerd
from tests.support.engine import Engine
from tests.support.pulling import OCI, Uploader, descriptor, digest_of
from tests.support.registry import Registry

LAYERS = 12
_SOURCES = ("/usr/lib", "/usr/share", "/usr/bin", "/usr/include")


def files() -> Iterator[Path]:
    """Regular files of this machine, in a fixed order."""
    for source in _SOURCES:
        for directory, names, found in os.walk(source):
            names.sort()
            for name in sorted(found):
                path = Path(directory, name)
                if path.is_file() and not path.is_symlink():
                    yield path


def layers(size: int, first: int = 0) -> Iterator[tuple[bytes, str]]:
    """Gzipped layers of together `size` bytes unpacked, each with its diff id.

    All their files are below a directory that is numbered, from `first` on.
    """
    source = files()
    for number in range(first, first + LAYERS):
        out, total = io.BytesIO(), 0
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            while total < size // LAYERS:
                path = next(source)
                tar.add(path, arcname=f"{number}{path}", recursive=False)
                total += path.stat().st_size
        plain = out.getvalue()
        yield gzip.compress(plain, 6, mtime=0), digest_of(plain)


def put(registry: Registry, tag: str, made: list[tuple[bytes, str]]) -> None:
    """Upload an image of those layers."""
    uploader = Uploader(registry, "bench")
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["true"], "Labels": {"tag": tag}},
        "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]},
    }).encode()  # fmt: skip
    for data in (config, *(blob for blob, _ in made)):
        uploader.blob(data)
    uploader.manifest(tag, {
        "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json",
        "config": descriptor(f"{OCI}.config.v1+json", config),
        "layers": [descriptor(f"{OCI}.layer.v1.tar+gzip", blob) for blob, _ in made],
    })  # fmt: skip


def pull(engine: Engine, name: str) -> float:
    """Seconds of one pull."""
    begun = time.perf_counter()
    with engine.api(timeout=600) as api:
        body = api.send("POST", "/images/create", fromImage=name).body
    took = time.perf_counter() - begun
    if b'"error"' in body:
        raise RuntimeError(body.splitlines()[-1].decode())
    return took


def forget(engine: Engine, name: str) -> None:
    """Remove the image, off the clock, and have the disk quiet."""
    with engine.api(timeout=600) as api:
        api.call("DELETE", f"/images/{name}", force=1)
    os.sync()


def skopeo(name: str, scratch: Path) -> float:
    """Seconds of a copy to a directory: no unpacking."""
    begun = time.perf_counter()
    command = [require("skopeo"), "copy", "-q", "--src-tls-verify=false"]
    subprocess.run([*command, f"docker://{name}", f"dir:{scratch}/copy"], check=True)
    took = time.perf_counter() - begun
    shutil.rmtree(scratch / "copy")
    return took


def peak_mib(pid: int) -> int:
    """The most memory that the process ever had, VmHWM of proc_pid_status(5), in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) >> 10
    raise RuntimeError("no VmHWM")


def arrivals(engine: Engine, name: str) -> int:
    """How many layers a pull brings that are not here already."""
    with engine.api(timeout=600) as api:
        body = api.send("POST", "/images/create", fromImage=name).body
    said = [json.loads(line).get("status") for line in body.splitlines()]
    return said.count("Download complete")


def measure(scratch: Path, rounds: int, size: int) -> dict[str, object]:
    """Everything, as figures."""
    aiod, dockerd = AiodDaemon(scratch / "a"), Dockerd(scratch / "d")
    times: dict[str, list[float]] = {"aiod": [], "dockerd": [], "skopeo": []}
    with Registry(scratch / "registry") as registry:
        made = list(layers(size))
        other = next(layers(size, first=LAYERS))
        put(registry, "one", made)
        put(registry, "two", [*made[:-1], other])
        name = f"{registry.address}/bench:one"
        try:
            for engine in (aiod, dockerd):
                engine.start()
            for _ in range(rounds):
                for engine in (aiod, dockerd):
                    times[engine.name].append(pull(engine, name))
                    forget(engine, name)
                times["skopeo"].append(skopeo(name, scratch))
            peak = peak_mib(aiod.pid)
            pull(aiod, name)
            second = arrivals(aiod, f"{registry.address}/bench:two")
        finally:
            aiod.destroy()
            dockerd.destroy()
    return {
        "layers": LAYERS,
        "compressed_mib": sum(len(blob) for blob, _ in made) >> 20,
        "unpacked_mib": size >> 20,
        "seconds": {who: [round(one, 2) for one in found] for who, found in times.items()},
        "median_seconds": {who: round(statistics.median(found), 2) for who, found in times.items()},
        "aiod_peak_mib": peak,
        "layers_of_second_pull": second,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=400)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="adi", dir="/tmp") as scratch:
        print(json.dumps(measure(Path(scratch), chosen.rounds, chosen.megabytes << 20), indent=2))


if __name__ == "__main__":
    main()
