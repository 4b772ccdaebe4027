"""From a tag or digest at a registry to the manifest of one image.

Owns which manifests are accepted; must not know where anything is kept.
"""

from dataclasses import dataclass

from aiod.errors import InvalidParameterError, NotFoundError
from aiod.images import config as formats
from aiod.images.config import Descriptor, Manifest, Platform
from aiod.images.loading import MOST_LAYERS
from aiod.images.platform import choose, shown
from aiod.images.reference import is_sha256
from aiod.images.registry.client import SCHEMA1, Fetched, Repository

_DEEPEST_INDEX = 4
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_CONFIG_TYPES = frozenset((formats.OCI_CONFIG, _DOCKER_CONFIG, "application/octet-stream"))
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_LAYER_TYPES = frozenset(
    (formats.OCI_LAYER, f"{formats.OCI_LAYER}+gzip", f"{formats.OCI_LAYER}+zstd",
     _DOCKER_LAYER, f"{_DOCKER_LAYER}.gzip", f"{_DOCKER_LAYER}.zstd")
)  # fmt: skip
_FOREIGN = ("application/vnd.docker.image.rootfs.foreign.",
            "application/vnd.oci.image.layer.nondistributable.")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Resolved:
    """`digest` is that of what was named, which may be an index; `manifest` the image's."""

    digest: str
    manifest: Fetched
    document: Manifest


async def resolve(repository: Repository, name: str, wanted: Platform) -> Resolved:
    """The image that a tag or digest means on a platform.

    Raises NotFoundError when an index has none for it, InvalidParameterError for what is no
    image that can be run here, and what the repository raises.
    """
    top = fetched = await repository.manifest(name)
    for _ in range(_DEEPEST_INDEX):
        if fetched.media_type not in formats.INDEX_TYPES:
            return Resolved(top.digest, fetched, _checked(fetched))
        entry = choose(formats.decode_index(fetched.data).manifests, wanted)
        if entry is None:
            raise NotFoundError(
                f"no matching manifest for {shown(wanted)} in the manifest list entries"
            )
        _check(entry)
        fetched = await repository.manifest(entry.digest)
    raise InvalidParameterError("manifest lists are nested too deeply")


def _checked(fetched: Fetched) -> Manifest:
    if fetched.media_type in SCHEMA1:
        raise InvalidParameterError(
            "manifest schema 1 is not supported: push the image again with a newer tool"
        )
    if fetched.media_type not in (formats.OCI_MANIFEST, formats.DOCKER_MANIFEST):
        raise InvalidParameterError(f"unsupported manifest media type {fetched.media_type!r}")
    manifest = formats.decode_manifest(fetched.data)
    if len(manifest.layers) > MOST_LAYERS:
        raise InvalidParameterError(
            f"image has {len(manifest.layers)} layers: more than {MOST_LAYERS}"
        )
    if manifest.config.media_type not in _CONFIG_TYPES:
        raise InvalidParameterError(
            f"not a container image: its config is a {manifest.config.media_type!r}"
        )
    _check(manifest.config)
    for layer in manifest.layers:
        _check_layer(layer)
    return manifest


def _check_layer(layer: Descriptor) -> None:
    if layer.media_type.startswith(_FOREIGN):
        raise InvalidParameterError(
            f"layer {layer.digest} is foreign: such layers are not supported"
        )
    if layer.media_type not in _LAYER_TYPES:
        raise InvalidParameterError(f"unsupported layer media type {layer.media_type!r}")
    _check(layer)


def _check(descriptor: Descriptor) -> None:
    if not is_sha256(descriptor.digest) or descriptor.size < 0:
        raise InvalidParameterError(
            f"invalid descriptor: {descriptor.digest[:80]!r} of {descriptor.size} bytes"
        )
