"""An ImageService of a test's own, pulls through it, and images put into registries by hand.

Must not know what a test expects.
"""

import gzip
import hashlib
import http.client
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiod.config import Paths, RegistrySettings
from aiod.images.config import Platform
from aiod.images.model import ProgressMessage
from aiod.images.pulling import pull_reference
from aiod.images.registry.credentials import ANONYMOUS, Credentials
from aiod.images.service import ImageService
from aiod.store.database import Database
from aiod.store.images import ImageRepository
from tests.support.binaries import require
from tests.support.registry import Registry

QUICK = RegistrySettings(attempts=4, first_delay=0.01, connect_timeout=5, stall_timeout=0.5)


@asynccontextmanager
async def image_service(
    root: Path, registries: RegistrySettings = QUICK
) -> AsyncIterator[ImageService]:
    """A service with its records and files below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    database = await Database.open(root / "d.db")
    service = ImageService(Paths(root, root), ImageRepository(database), registries=registries)
    await service.start()
    try:
        yield service
    finally:
        await service.close()
        await database.close()


async def pull(
    images: ImageService,
    name: str,
    *,
    platform: Platform | None = None,
    who: Credentials = ANONYMOUS,
) -> list[ProgressMessage]:
    """Pull to the end; what was told."""
    return [message async for message in images.pull(pull_reference(name), platform, who)]


def statuses(messages: Sequence[ProgressMessage], name: str = "") -> list[str]:
    """What was said, of one layer if `name` is given, without repetitions."""
    said = [one.status for one in messages if not name or one.id == name]
    return list(dict.fromkeys(said))


def left_behind(root: Path) -> set[str]:
    """Names of all blobs, layers and unfinished files."""
    found = [*(root / "content").rglob("*"), *(root / "overlay").glob("*")]
    return {path.name for path in found if path.name not in ("blobs", "sha256", "ingest")}


def skopeo_push(registry: Registry, name: str, archive: Path, *options: str) -> str:
    """Have skopeo put an archive there; the digest of its manifest."""
    digests = archive.with_suffix(".digest")
    command = [require("skopeo"), "copy", "-q", "--dest-tls-verify=false"]
    subprocess.run(
        [*command, f"--digestfile={digests}", *options, f"docker-archive:{archive}",
         f"docker://{registry.address}/{name}"],
        check=True, timeout=60,
    )  # fmt: skip
    return digests.read_text().strip()


def digest_of(data: bytes) -> str:
    """`sha256:` and the hex digest."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    """What points to `data`."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


OCI = "application/vnd.oci.image"


class Uploader:
    """Puts blobs and manifests, also such as no tool would make, into a registry in clear."""

    def __init__(self, registry: Registry, repository: str) -> None:
        self._port = registry.port
        self._repository = repository

    def _ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        assert answer.status < 300, said
        return answer

    def blob(self, data: bytes) -> None:
        """Upload a blob."""
        answer = self._ask("POST", f"/v2/{self._repository}/blobs/uploads/")
        place = str(answer.getheader("Location")).partition("127.0.0.1")[2].partition("/")[2]
        self._ask("PUT", f"/{place}&digest={digest_of(data)}", data)

    def manifest(self, reference: str, document: dict[str, Any]) -> bytes:
        """Upload a manifest or an index under a tag or its digest ("")."""
        data = json.dumps(document).encode()
        where = reference or digest_of(data)
        self._ask("PUT", f"/v2/{self._repository}/manifests/{where}", data,
                  Content_Type=document["mediaType"])  # fmt: skip
        return data

    def image(
        self,
        reference: str,
        tars: Sequence[bytes],
        *,
        compress: Callable[[bytes], bytes] = lambda data: gzip.compress(data, 1, mtime=0),
        suffix: str = "+gzip",
        platform: Platform | None = None,
        **changes: Any,
    ) -> bytes:
        """Upload an OCI image of layer tars; its manifest. `changes` replace parts of it."""
        one = platform or Platform("amd64", "linux")
        config = json.dumps({
            "architecture": one.architecture, "os": one.os, "variant": one.variant,
            "rootfs": {"type": "layers", "diff_ids": [digest_of(data) for data in tars]},
        }).encode()  # fmt: skip
        blobs = [compress(data) for data in tars]
        for blob in (*blobs, config):
            self.blob(blob)
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": descriptor(f"{OCI}.config.v1+json", config),
            "layers": [descriptor(f"{OCI}.layer.v1.tar{suffix}", blob) for blob in blobs],
            **changes,
        }
        return self.manifest(reference, manifest)
