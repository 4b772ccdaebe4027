"""Writes image archives: what `docker load`, skopeo and tools that read OCI layouts take.

Owns the form: blobs by digest, `manifest.json` and `repositories` for Docker's readers,
`index.json` and `oci-layout` for OCI's (image-spec, `image-layout.md`), as Docker writes
them since 25.0. Layers are plain tars. The same images give the same bytes.
"""

import contextlib
import tarfile
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from aiod.errors import InternalError, InvalidParameterError, NotFoundError
from aiod.images import manifests
from aiod.images.catalogue import Catalogue
from aiod.images.config import (
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Platform,
)  # fmt: skip
from aiod.images.model import ImageRecord, LayerRecord
from aiod.images.plain import PlainLayers
from aiod.images.reference import is_hex64, parse
from aiod.images.times import parse_time

_BLOCK = tarfile.BLOCKSIZE
_BLOBS = "blobs/sha256/"


@dataclass(frozen=True, slots=True)
class Chosen:
    """An image to save, and the tags it shall have in the archive, in normal form."""

    image: ImageRecord
    tags: tuple[str, ...] = ()


class _DockerItem(msgspec.Struct, frozen=True, rename="pascal"):
    config: str
    repo_tags: list[str] | None
    layers: list[str]
    layer_sources: dict[str, Descriptor]


class _Index(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: int
    media_type: str
    manifests: list[Descriptor]


def choose(images: Catalogue, names: Iterable[str]) -> list[Chosen]:
    """The images that `names` mean, each once.

    A repository without a tag means all its tags; an id or a digest comes without a name.
    Raises NotFoundError and InvalidParameterError.
    """
    found: dict[str, Chosen] = {}
    for name in names:
        for one in _named(images, name):
            known = found.setdefault(one.image.id, Chosen(one.image))
            tags = dict.fromkeys((*known.tags, *one.tags))
            found[one.image.id] = replace(known, tags=tuple(tags))
    if not found:
        raise InvalidParameterError("no image is named")
    return list(found.values())


def _named(images: Catalogue, name: str) -> list[Chosen]:
    if is_hex64(name) or name.startswith("sha256:"):
        return [Chosen(images.find(name))]
    reference = parse(name)
    if reference.tag is not None or reference.digest is not None:
        image = images.named(str(reference))
        if image is None:
            raise NotFoundError("reference does not exist")
        return [Chosen(image, (str(reference),) if reference.digest is None else ())]
    tagged = [
        Chosen(image, (f"{reference.name}:{tag}",))
        for tag, image in images.tagged(reference.name).items()
    ]
    return tagged or [_by_id(images, name)]


def _by_id(images: Catalogue, name: str) -> Chosen:
    try:
        return Chosen(images.find(name))
    except NotFoundError:
        raise NotFoundError(f"No such image: {name}") from None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is known of one image before anything is written."""

    chosen: Chosen
    config: bytes
    manifest: bytes
    modified: int
    platform: Platform
    sizes: tuple[int, ...]


class Saving:
    """Writes one archive. Everything that can be refused is found before the first byte."""

    def __init__(self, layers: PlainLayers) -> None:
        self._layers = layers
        self._images: list[_Prepared] = []

    async def add(self, chosen: Chosen, config: ImageConfig, blob: bytes) -> None:
        """One more image, whose config blob is `blob`. Raises NotFoundError."""
        image = chosen.image
        sizes = tuple([await self._layers.size(layer) for layer in image.layers])
        manifest = manifests.plain_oci(image, sizes)
        modified = max(0, parse_time(config.created or "") or 0) // 10**9
        platform = Platform(config.architecture, config.os, config.variant)
        self._images.append(_Prepared(chosen, blob, manifest, modified, platform, sizes))

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The archive. Raises InternalError when a blob turns out to be rotten."""
        yield _directory("blobs/") + _directory(_BLOBS)
        written: set[str] = set()
        for one in self._images:
            for data in (one.config, one.manifest):
                if (digest := manifests.digest(data)) not in written:
                    written.add(digest)
                    yield _file(_blob(digest), data, one.modified)
            for layer, size in zip(one.chosen.image.layers, one.sizes, strict=True):
                if layer.diff_id not in written:
                    written.add(layer.diff_id)
                    async with contextlib.aclosing(self._layer(layer, size, one)) as pieces:
                        async for piece in pieces:
                            yield piece
        yield self._documents()
        yield bytes(2 * _BLOCK)

    async def _layer(
        self, layer: LayerRecord, size: int, one: _Prepared
    ) -> AsyncGenerator[bytes, None]:
        yield _header(_blob(layer.diff_id), size, one.modified)
        left = size
        async with contextlib.aclosing(self._layers.stream(layer)) as pieces:
            async for piece in pieces:
                left -= len(piece)
                if left < 0:
                    break
                yield piece
        if left:
            raise InternalError(f"layer {layer.diff_id} is damaged: it has another length")
        yield bytes(-size % _BLOCK)

    def _documents(self) -> bytes:
        index = _Index(2, OCI_INDEX, [d for one in self._images for d in _descriptors(one)])
        items = [_item(one) for one in self._images]
        files = {
            "index.json": msgspec.json.encode(index),
            "manifest.json": msgspec.json.encode(items),
            "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
            "repositories": msgspec.json.encode(_repositories(self._images)),
        }
        return b"".join(_file(name, data, 0) for name, data in files.items())


def _descriptors(one: _Prepared) -> list[Descriptor]:
    bare = Descriptor(
        OCI_MANIFEST, manifests.digest(one.manifest), len(one.manifest), platform=one.platform
    )
    return [
        msgspec.structs.replace(bare, annotations=_annotations(tag)) for tag in one.chosen.tags
    ] or [bare]


def _annotations(tag: str) -> dict[str, str]:
    return {
        "io.containerd.image.name": tag,
        "org.opencontainers.image.ref.name": parse(tag).tag or "",
    }


def _item(one: _Prepared) -> _DockerItem:
    image = one.chosen.image
    sources = {
        layer.diff_id: Descriptor(OCI_LAYER, layer.diff_id, size)
        for layer, size in zip(image.layers, one.sizes, strict=True)
    }
    tags = [parse(tag).familiar for tag in one.chosen.tags]
    return _DockerItem(
        _blob(image.id), tags or None, [_blob(layer.diff_id) for layer in image.layers], sources
    )


def _repositories(images: Sequence[_Prepared]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for one in images:
        for tag in map(parse, one.chosen.tags):
            if one.chosen.image.layers:
                top = one.chosen.image.layers[-1].diff_id
                found.setdefault(tag.familiar_name, {})[tag.tag or ""] = top.removeprefix("sha256:")
    return found


def _blob(digest: str) -> str:
    return _BLOBS + digest.removeprefix("sha256:")


def _header(name: str, size: int, modified: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, modified
    return member.tobuf(tarfile.GNU_FORMAT)


def _directory(name: str) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    return member.tobuf(tarfile.GNU_FORMAT)


def _file(name: str, data: bytes, modified: int) -> bytes:
    return _header(name, len(data), modified) + data + bytes(-len(data) % _BLOCK)
