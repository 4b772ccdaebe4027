"""Image records (what the database keeps) and the Engine API's views of an image.

Owns the shapes only; must not know where they are stored or how they are computed.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from aiod.images.config import RunConfig


class LayerRecord(msgspec.Struct, frozen=True):
    """One layer of one image; `blob_size` is in bytes, as stored."""

    diff_id: str
    chain_id: str
    blob_digest: str
    blob_media_type: str
    blob_size: int


class ImageRecord(msgspec.Struct, frozen=True):
    """An image that is wholly here; times are nanoseconds since the epoch.

    `id` is `sha256:` and the digest of the config blob; `manifest` the digest of an OCI
    manifest blob if one is kept; `size` the unpacked bytes of all layers; `references` are
    in normal form. `parent` is the id of the image that this one was built from here, if any.
    """

    id: str
    manifest: str | None
    config_size: int
    size: int
    layers: tuple[LayerRecord, ...]
    references: tuple[str, ...]
    created_ns: int
    tagged_ns: int
    parent: str = ""

    def needs(self) -> frozenset[str]:
        """Every blob, by digest, and every layer, by chain id, without which it is not whole."""
        return self.blobs() | self.chains()

    def blobs(self) -> frozenset[str]:
        """The digests of its config, of its manifest if it has one, and of its layers' blobs."""
        manifest = {self.manifest} if self.manifest else set()
        return frozenset({self.id, *manifest, *(layer.blob_digest for layer in self.layers)})

    def chains(self) -> frozenset[str]:
        """The chain ids of its layers."""
        return frozenset(layer.chain_id for layer in self.layers)


def chain_id(parent: str | None, diff_id: str) -> str:
    """The chain id of a layer on top of the chain `parent` (OCI image spec, "Layer ChainID")."""
    if parent is None:
        return diff_id
    return "sha256:" + hashlib.sha256(f"{parent} {diff_id}".encode()).hexdigest()


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """The chain id of every layer, bottom first."""
    out: list[str] = []
    for diff_id in diff_ids:
        out.append(chain_id(out[-1] if out else None, diff_id))
    return tuple(out)


class ContainerUse(msgspec.Struct, frozen=True):
    """A container made from an image, as removal needs to know it."""

    container_id: str
    running: bool


class ProgressDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bytes done and, if known, bytes to do."""

    current: int = 0
    total: int = 0


class Pushed(msgspec.Struct, frozen=True, rename="pascal"):
    """What a push ends with; `size` is that of the manifest, in bytes."""

    tag: str
    digest: str
    size: int


class ProgressMessage(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One line of the JSON stream that load, import, pull and push answer with."""

    stream: str = ""
    status: str = ""
    id: str = ""
    progress: str = ""
    progress_detail: ProgressDetail | None = None
    aux: Pushed | None = None


class ImageSummary(msgspec.Struct, frozen=True, rename="pascal"):
    """A row of `GET /images/json`; -1 stands for "not computed"."""

    id: str
    parent_id: str
    repo_tags: list[str]
    repo_digests: list[str]
    created: int
    size: int
    shared_size: int
    labels: dict[str, str] | None
    containers: int


class GraphDriver(msgspec.Struct, frozen=True, rename="pascal"):
    """Where the unpacked layers are, in the words of Docker's overlay2 driver."""

    data: dict[str, str]
    name: str = "overlay2"


class RootFSInspect(msgspec.Struct, frozen=True, rename="pascal"):
    """The layers' diff ids, bottom first."""

    layers: list[str]
    type: str = "layers"


class ImageMetadata(msgspec.Struct, frozen=True, rename="pascal"):
    """What this engine, not the image, knows."""

    last_tag_time: str


class ImageInspect(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer of `GET /images/{name}/json`, before an API version's habits."""

    id: str
    repo_tags: list[str]
    repo_digests: list[str]
    parent: str
    comment: str
    created: str
    docker_version: str
    author: str
    config: RunConfig
    architecture: str
    os: str
    size: int
    graph_driver: GraphDriver
    root_fs: RootFSInspect = msgspec.field(name="RootFS")
    metadata: ImageMetadata
    variant: str = ""
    os_version: str = ""


class DeleteItem(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """One thing that removal did: exactly one of the two is set."""

    untagged: str = ""
    deleted: str = ""
