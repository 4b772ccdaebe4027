"""Reads image archives: what `docker save` and skopeo write, and tarred OCI layouts.

Owns the formats (Docker's `manifest.json`; OCI image-spec, `image-layout.md`) and says which
images, with which blobs, an archive holds; must not know how they are stored or recorded.
Nothing is extracted: members are read by name, so that no member's name can do harm.
Blocking.
"""

import hashlib
import posixpath
import tarfile
from dataclasses import dataclass
from typing import IO

import msgspec

from aiod.errors import InvalidParameterError
from aiod.images import config as formats
from aiod.images.reference import normalize

MOST_MEMBERS = 100_000
LARGEST_DOCUMENT = 8 << 20
_DEEPEST_INDEX = 4
_MOST_LINKS = 8
_NAME_KEYS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class _DockerItem(msgspec.Struct, frozen=True, rename="pascal"):
    config: str
    layers: list[str]
    repo_tags: list[str] | None = None


@dataclass(frozen=True, slots=True)
class ArchivedLayer:
    """One layer: the member that holds it and, where the format says it, its blob's digest."""

    member: str
    digest: str | None


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One image; `references` are in normal form, `layers` bottom first."""

    config: bytes
    manifest: bytes | None
    references: tuple[str, ...]
    layers: tuple[ArchivedLayer, ...]


class Archive:
    """An uncompressed archive in a seekable file."""

    def __init__(self, file: IO[bytes]) -> None:
        try:
            self._tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 (closed by close)
            self._members: dict[str, tarfile.TarInfo] = {}
            for member in self._tar:
                if len(self._members) >= MOST_MEMBERS:
                    raise InvalidParameterError(f"archive has more than {MOST_MEMBERS} members")
                self._members[posixpath.normpath(member.name)] = member
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise InvalidParameterError(f"not an image archive: {error}") from error

    def close(self) -> None:
        """Forget the index; the file stays open."""
        self._tar.close()

    def images(self, machine: formats.Platform) -> list[ArchivedImage]:
        """Every image for this machine. Raises InvalidParameterError with what is wrong."""
        if "manifest.json" in self._members:
            return self._docker_images()
        if "index.json" in self._members:
            return self._oci_images(machine)
        raise InvalidParameterError(
            "not an image archive: it has neither manifest.json nor index.json"
        )

    def open(self, name: str) -> IO[bytes]:
        """A member's content; links inside the archive are followed."""
        path = posixpath.normpath(name)
        for _ in range(_MOST_LINKS):
            member = self._members.get(path)
            if member is None:
                raise InvalidParameterError(f"archive has no {name!r}")
            if member.issym():
                path = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.linkname))
            elif member.islnk():
                path = posixpath.normpath(member.linkname)
            else:
                break
        else:
            raise InvalidParameterError(f"archive: too many links at {name!r}")
        content = self._tar.extractfile(member) if member.isreg() else None
        if content is None:
            raise InvalidParameterError(f"archive: {name!r} is not a regular file")
        return content

    def _document(self, name: str) -> bytes:
        with self.open(name) as content:
            data = content.read(LARGEST_DOCUMENT + 1)
        if len(data) > LARGEST_DOCUMENT:
            raise InvalidParameterError(f"archive: {name!r} is over {LARGEST_DOCUMENT} bytes")
        return data

    def _docker_images(self) -> list[ArchivedImage]:
        try:
            items = msgspec.json.decode(self._document("manifest.json"), type=list[_DockerItem])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidParameterError(f"invalid manifest.json: {error}") from error
        return [
            ArchivedImage(
                self._document(item.config),
                None,
                tuple(normalize(tag) for tag in item.repo_tags or ()),
                tuple(ArchivedLayer(name, None) for name in item.layers),
            )
            for item in items
        ]

    def _blob(self, descriptor: formats.Descriptor) -> bytes:
        data = self._document(_blob_name(descriptor.digest))
        if "sha256:" + hashlib.sha256(data).hexdigest() != descriptor.digest:
            raise InvalidParameterError(f"blob {descriptor.digest} has another digest")
        return data

    def _oci_images(self, machine: formats.Platform) -> list[ArchivedImage]:
        index = formats.decode_index(self._document("index.json"))
        found = [
            image
            for descriptor in index.manifests
            for image in self._described(descriptor, machine, _names(descriptor), 0)
        ]
        if not found:
            raise InvalidParameterError(
                f"archive has no image for {machine.os}/{machine.architecture}"
            )
        return found

    def _described(
        self,
        descriptor: formats.Descriptor,
        machine: formats.Platform,
        names: tuple[str, ...],
        depth: int,
    ) -> list[ArchivedImage]:
        if depth > _DEEPEST_INDEX:
            raise InvalidParameterError("archive: indexes are nested too deeply")
        wanted = descriptor.platform
        if wanted and (wanted.os, wanted.architecture) != (machine.os, machine.architecture):
            return []
        data = self._blob(descriptor)
        if descriptor.media_type in formats.INDEX_TYPES:
            return [
                image
                for inner in formats.decode_index(data).manifests
                for image in self._described(inner, machine, names, depth + 1)
            ]
        manifest = formats.decode_manifest(data)
        layers = tuple(
            ArchivedLayer(_blob_name(layer.digest), layer.digest) for layer in manifest.layers
        )
        return [ArchivedImage(self._blob(manifest.config), data, names, layers)]


def _blob_name(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"


def _names(descriptor: formats.Descriptor) -> tuple[str, ...]:
    annotations = descriptor.annotations or {}
    name = next((annotations[key] for key in _NAME_KEYS if key in annotations), "")
    return (normalize(name),) if name else ()
