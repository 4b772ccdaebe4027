"""The image that is pulled: 12 layers and 400 MB of this machine's own /usr, as an OCI layout.

Owns which files go into which layer; must not know engines or registries. The same machine
gives the same layers, byte for byte: which directories are taken, and in what order, hangs on
hashes of their names, so that a layer is a mix of many small files and some large ones.
"""

import gzip
import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

LAYERS = 12
SIZE = 400_000_000  # bytes of the layers' files
_LARGEST = 24 << 20  # bytes of one file
_SOURCE = "/usr"
_TYPE = "application/vnd.oci.image"
_CREATED = "2024-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as it is stored; `size` in bytes, `files` are the members of its tar."""

    digest: str
    diff_id: str
    size: int
    plain_size: int
    files: int


@dataclass(frozen=True, slots=True)
class Made:
    """An OCI layout with two images, `first` and `second`, that share all layers but the last."""

    layout: Path
    first: tuple[Layer, ...]
    second: tuple[Layer, ...]

    @property
    def size(self) -> int:
        """Bytes of the first image's layers, unpacked."""
        return sum(layer.plain_size for layer in self.first)

    @property
    def compressed(self) -> int:
        """Bytes of the first image's layers, as they are transferred."""
        return sum(layer.size for layer in self.first)

    @property
    def files(self) -> int:
        """Members of the first image's tars."""
        return sum(layer.files for layer in self.first)


def make(layout: Path, size: int = SIZE) -> Made:
    """Write the layout; RuntimeError if /usr holds less than `size` bytes."""
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    shares = list(_shares(size // LAYERS, LAYERS + 1))
    if len(shares) <= LAYERS:
        raise RuntimeError(f"{_SOURCE} holds less than {size} bytes in files of usual sizes")
    with ProcessPoolExecutor() as pool:
        layers = tuple(pool.map(_write_layer, [blobs] * len(shares), shares))
    first, second = layers[:LAYERS], (*layers[: LAYERS - 1], layers[LAYERS])
    manifests = [_write_image(blobs, "first", first), _write_image(blobs, "second", second)]
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    return Made(layout, first, second)


def _shares(size: int, count: int) -> Iterator[list[str]]:
    """`count` lists of names of about `size` bytes each."""
    share: list[str] = []
    filled = 0
    for name, length in _candidates():
        share.append(name)
        filled += length
        if filled >= size:
            yield share
            share, filled = [], 0
            count -= 1
        if not count:
            return


def _candidates() -> Iterator[tuple[str, int]]:
    """Files and symbolic links with their sizes, whole directories together."""
    device = os.lstat(_SOURCE).st_dev
    found = [name for name, below, _ in os.walk(_SOURCE) if _enter(name, below, device)]
    for directory in sorted(found, key=lambda name: hashlib.sha256(os.fsencode(name)).digest()):
        for name in sorted(os.listdir(directory)):
            path = f"{directory}/{name}"
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                yield path, 0
            elif stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST:
                yield path, status.st_size


def _enter(name: str, below: list[str], device: int) -> bool:
    """Whether a directory is on the source's own file system; if not, nor is what is below."""
    if os.lstat(name).st_dev == device:
        return True
    below.clear()
    return False


class _Sink:
    """A file that hashes and counts what is written."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.count = 0

    def write(self, data: bytes, /) -> int:
        """All of `data`."""
        self._hash.update(data)
        self._target.write(data)
        self.count += len(data)
        return len(data)

    def tell(self) -> int:
        """Where the next byte goes."""
        return self.count

    @property
    def digest(self) -> str:
        """sha256 of what was written."""
        return "sha256:" + self._hash.hexdigest()


def _write_layer(blobs: Path, names: list[str]) -> Layer:
    temporary = blobs / f"tmp-{hashlib.sha256(os.fsencode(names[0])).hexdigest()}"
    with temporary.open("wb") as file:
        packed = _Sink(file)
        with gzip.GzipFile("", "wb", 6, cast("IO[bytes]", packed), mtime=0) as unzipped:
            plain = _Sink(cast("IO[bytes]", unzipped))
            with tarfile.open(None, "w", cast("IO[bytes]", plain)) as tar:
                files = _add_all(tar, names)
    temporary.rename(blobs / packed.digest.removeprefix("sha256:"))
    return Layer(packed.digest, plain.digest, packed.count, plain.count, files)


def _add_all(tar: tarfile.TarFile, names: list[str]) -> int:
    """Add files with every directory on the way to them; returns how many members it made."""
    known = {"/"}
    for name in names:
        ways = [str(way) for way in reversed(Path(name).parents) if str(way) not in known]
        known.update(ways)
        for member in (*ways, name):
            tar.add(member, member.lstrip("/"), recursive=False, filter=_plain)
    return len(known) - 1 + len(names)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Root's, with times in whole seconds, as image builders write them."""
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    info.mtime = int(info.mtime)
    return info


def _write_image(blobs: Path, tag: str, layers: tuple[Layer, ...]) -> dict[str, Any]:
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "created": _CREATED,
        "config": {"Cmd": ["true"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": _CREATED, "created_by": "benchmark"} for _ in layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_TYPE}.manifest.v1+json",
        "config": _write_blob(blobs, f"{_TYPE}.config.v1+json", config),
        "layers": [
            {"mediaType": f"{_TYPE}.layer.v1.tar+gzip", "digest": one.digest, "size": one.size}
            for one in layers
        ],
    }
    entry = _write_blob(blobs, f"{_TYPE}.manifest.v1+json", manifest)
    return {**entry, "annotations": {"org.opencontainers.image.ref.name": tag}}


def _write_blob(blobs: Path, media_type: str, document: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}
