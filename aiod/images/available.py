"""The manifests of images, as `manifests=1` shows them (Engine API, `ImageManifestSummary`).

Pure; must not know where anything is kept.
"""

from collections.abc import Sequence

import msgspec

from aiod.images.config import Descriptor, ImageConfig, Platform
from aiod.images.model import ImageRecord


class ContentSize(msgspec.Struct, frozen=True, rename="pascal"):
    """Bytes in the content store, and those together with the unpacked ones."""

    total: int
    content: int


class UnpackedSize(msgspec.Struct, frozen=True, rename="pascal"):
    """Bytes of the unpacked layers."""

    unpacked: int


class ImageData(msgspec.Struct, frozen=True, rename="pascal"):
    """What is known of a manifest that is an image's."""

    platform: Platform
    containers: list[str]
    size: UnpackedSize


class ManifestSummary(msgspec.Struct, frozen=True, rename="pascal"):
    """One manifest."""

    id: str = msgspec.field(name="ID")
    descriptor: Descriptor
    available: bool
    size: ContentSize
    kind: str
    image_data: ImageData


def summary(
    image: ImageRecord,
    config: ImageConfig,
    descriptor: Descriptor,
    containers: Sequence[str],
) -> ManifestSummary:
    """The manifest that an image is here with; all that it names is here."""
    sizes = {layer.blob_digest: layer.blob_size for layer in image.layers}
    content = descriptor.size + image.config_size + sum(sizes.values())
    return ManifestSummary(
        id=descriptor.digest,
        descriptor=descriptor,
        available=True,
        size=ContentSize(content + image.size, content),
        kind="image",
        image_data=ImageData(
            Platform(config.architecture, config.os, config.variant),
            list(containers),
            UnpackedSize(image.size),
        ),
    )
