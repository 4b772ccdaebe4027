"""Layer tars member by member, also such as no tool would write, and archives around them.

Must not know engines; everything is bytes.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, data: bytes = b"", **fields: Any) -> Member:
    """A regular file, unless `type` is among the fields of tarfile.TarInfo."""
    info = tarfile.TarInfo(name)
    info.mtime, info.mode = 1_600_000_000, 0o644
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def directory(name: str, mode: int = 0o755, **fields: Any) -> Member:
    """A directory."""
    return member(name, type=tarfile.DIRTYPE, mode=mode, **fields)


def link(name: str, target: str, kind: bytes = tarfile.LNKTYPE) -> Member:
    """A hard link, or a symbolic one."""
    return member(name, type=kind, linkname=target)


def soft(name: str, target: str) -> Member:
    """A symbolic link."""
    return link(name, target, tarfile.SYMTYPE)


def layer(members: Iterable[Member], form: int = tarfile.PAX_FORMAT) -> bytes:
    """The tar of `members`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def archive(files: Mapping[str, bytes]) -> bytes:
    """A tar of regular files."""
    return layer(member(name, data) for name, data in files.items())


def docker_archive(
    stored: Iterable[bytes],
    *,
    diff_ids: Iterable[str] | None = None,
    config: Mapping[str, Any] | None = None,
    tags: Iterable[str] = ("h:1",),
) -> bytes:
    """A docker-archive of layers as they are stored; every part can be told otherwise."""
    layers = {f"layer{number}": data for number, data in enumerate(stored)}
    ids = [f"sha256:{hashlib.sha256(d).hexdigest()}" for d in layers.values()]
    ids = ids if diff_ids is None else list(diff_ids)
    document = {"architecture": "amd64", "os": "linux", "config": {}, "history": [],
                "rootfs": {"type": "layers", "diff_ids": ids}, **(config or {})}  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": list(tags), "Layers": list(layers)}]
    return archive({"config.json": json.dumps(document).encode(), **layers,
                    "manifest.json": json.dumps(manifest).encode()})  # fmt: skip
