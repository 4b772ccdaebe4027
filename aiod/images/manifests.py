"""The manifests that images without one get, when they leave. Pure."""

import hashlib
from collections.abc import Sequence

import msgspec

from aiod.images.config import DOCKER_MANIFEST, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor
from aiod.images.model import ImageRecord, LayerRecord

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class _Ordered(msgspec.Struct, frozen=True, rename="camel"):
    """A manifest with its members in the order that Docker writes."""

    schema_version: int
    media_type: str
    config: Descriptor
    layers: list[Descriptor]


def digest(data: bytes) -> str:
    """The digest of a document."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def plain_oci(image: ImageRecord, sizes: Sequence[int]) -> bytes:
    """An OCI manifest over the plain tars of an image, whose lengths are `sizes`."""
    layers = [
        Descriptor(OCI_LAYER, layer.diff_id, size)
        for layer, size in zip(image.layers, sizes, strict=True)
    ]
    config = Descriptor(OCI_CONFIG, image.id, image.config_size)
    return msgspec.json.encode(_Ordered(2, OCI_MANIFEST, config, layers))


def docker(image: ImageRecord, layers: Sequence[LayerRecord]) -> bytes:
    """A schema 2 manifest over gzip layers (distribution, "Image Manifest Version 2, Schema 2").

    Indented with three spaces, as dockerd's, so that the same layers have the same digest.
    """
    config = Descriptor(DOCKER_CONFIG, image.id, image.config_size)
    listed = [Descriptor(DOCKER_LAYER_GZIP, one.blob_digest, one.blob_size) for one in layers]
    encoded = msgspec.json.encode(_Ordered(2, DOCKER_MANIFEST, config, listed))
    return msgspec.json.format(encoded, indent=3)
