"""Test images, made here from the host's static busybox: tars, docker-archives, OCI layouts.

Must not know about engines; everything is bytes or files.
"""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CANDIDATES = ("/usr/bin/busybox", "/bin/busybox", "/usr/lib/initramfs-tools/bin/busybox")


def static_busybox() -> Path:
    """The host's statically linked busybox; FileNotFoundError says what to install."""
    for candidate in map(Path, _CANDIDATES):
        if candidate.exists() and b"/lib64/ld-linux" not in candidate.read_bytes()[:4096]:
            return candidate
    raise FileNotFoundError("no static busybox: Debian's package busybox-static ships it")


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a tar; `link` makes a symbolic link, a trailing slash a directory."""

    name: str
    data: bytes = b""
    mode: int = 0o644
    link: str = ""


def tar(entries: Iterable[Entry]) -> bytes:
    """An uncompressed tar of `entries`, with fixed times so that digests repeat."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            member = tarfile.TarInfo(entry.name.rstrip("/"))
            member.mode = entry.mode
            if entry.link:
                member.type, member.linkname = tarfile.SYMTYPE, entry.link
            elif entry.name.endswith("/"):
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(entry.data)
            archive.addfile(member, io.BytesIO(entry.data) if member.isreg() else None)
    return out.getvalue()


def busybox_entries() -> list[Entry]:
    """A root filesystem: busybox, a link for each applet, and the usual directories."""
    binary = static_busybox()
    listing = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True)
    entries = [
        Entry(f"{name}/", mode=0o755)
        for name in ("bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "var")
    ]
    entries.append(Entry("tmp/", mode=0o1777))
    entries.append(Entry("bin/busybox", binary.read_bytes(), 0o755))
    applets = sorted(set(listing.stdout.split()) - {"busybox"})
    entries += [Entry(f"bin/{applet}", link="busybox") for applet in applets]
    entries += [
        Entry("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n"),
        Entry("etc/group", b"root:x:0:\nuser:x:1000:\n"),
        Entry("etc/not-executable", b"#!/bin/sh\n", 0o644),
    ]
    return entries


def busybox_tar() -> bytes:
    """`busybox_entries` as one tar, as `docker import` takes it."""
    return tar(busybox_entries())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _image_config(tag: str, layers: list[bytes], command: list[str]) -> bytes:
    document: dict[str, Any] = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {
            "Cmd": command,
            "Labels": {"tag": tag},  # so that no two tags name one image
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(data)}" for data in layers]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "test"} for _ in layers],
    }
    return json.dumps(document, sort_keys=True).encode()


def docker_archive(tag: str, layers: list[bytes], command: list[str] | None = None) -> bytes:
    """What `docker save` writes for one image of the given layer tars."""
    config = _image_config(tag, layers, command or ["sh"])
    manifest = [
        {
            "Config": f"{_sha256(config)}.json",
            "RepoTags": [tag],
            "Layers": [f"{_sha256(data)}/layer.tar" for data in layers],
        }
    ]
    entries = [Entry(f"{_sha256(config)}.json", config)]
    for data in layers:
        entries += [
            Entry(f"{_sha256(data)}/", mode=0o755),
            Entry(f"{_sha256(data)}/layer.tar", data),
        ]
    entries.append(Entry("manifest.json", json.dumps(manifest).encode()))
    return tar(entries)


def oci_layout(tag: str, layers: list[bytes]) -> bytes:
    """A tarred OCI image layout (image-spec, image-layout.md) with gzip layers."""
    config = _image_config(tag, layers, ["sh"])
    blobs: dict[str, bytes] = {}

    def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
        blobs[_sha256(data)] = data
        return {"mediaType": media_type, "digest": f"sha256:{_sha256(data)}", "size": len(data)}

    prefix = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{prefix}.manifest.v1+json",
        "config": descriptor(f"{prefix}.config.v1+json", config),
        "layers": [
            descriptor(f"{prefix}.layer.v1.tar+gzip", gzip.compress(data, 1, mtime=0))
            for data in layers
        ],
    }
    top = descriptor(f"{prefix}.manifest.v1+json", json.dumps(manifest).encode())
    top["annotations"] = {"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": tag}
    index = {"schemaVersion": 2, "manifests": [top]}
    entries = [
        Entry("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
        Entry("index.json", json.dumps(index).encode()),
    ]
    entries += [Entry(f"blobs/sha256/{digest}", data) for digest, data in blobs.items()]
    return tar(entries)
