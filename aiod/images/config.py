"""Image configs and manifests as JSON: what images and registries exchange.

Owns the structs of the OCI image spec (v1.1: config, manifest, index) with Docker's
additions; unknown fields are kept only in the blob itself. Sans-I/O.
"""

from typing import Any

import msgspec

from aiod.errors import InvalidParameterError

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
INDEX_TYPES = frozenset((OCI_INDEX, DOCKER_MANIFEST_LIST))


class Healthcheck(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """Docker's health check; durations are nanoseconds, 0 means the default."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class RunConfig(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """What a container of the image runs as, unless told otherwise (`config` in the JSON)."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, Any] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: Healthcheck | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, Any] | None = None
    working_dir: str = ""
    entrypoint: list[str] | None = None
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] | None = None


class RootFS(msgspec.Struct, frozen=True):
    """The layers, bottom first, by the digest of their uncompressed tar."""

    diff_ids: list[str]
    type: str = "layers"


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one layer, or one empty step, came to be."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """The image config blob; its sha256 digest is the image id."""

    architecture: str = ""
    os: str = ""
    config: RunConfig | None = None
    rootfs: RootFS = msgspec.field(default_factory=lambda: RootFS([]))
    history: list[History] | None = None
    created: str | None = None
    author: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    comment: str = ""
    docker_version: str = ""
    container: str = ""
    container_config: RunConfig | None = None

    @property
    def run(self) -> RunConfig:
        """The run configuration, empty when the image has none."""
        return self.config or RunConfig()


class Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """What machine a manifest is for."""

    architecture: str = ""
    os: str = ""
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A typed pointer to a blob; `size` is its length in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] | None = None
    platform: Platform | None = None


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """An image manifest: a config and its layer blobs, bottom first."""

    config: Descriptor
    layers: list[Descriptor]
    schema_version: int = 2
    media_type: str = OCI_MANIFEST
    annotations: dict[str, str] | None = None


class Index(msgspec.Struct, frozen=True, rename="camel"):
    """A list of manifests, or of further lists."""

    manifests: list[Descriptor]
    schema_version: int = 2
    media_type: str = OCI_INDEX


def decode_config(data: bytes) -> ImageConfig:
    """Read a config blob; raises InvalidParameterError when it is not one."""
    try:
        return msgspec.json.decode(data, type=ImageConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidParameterError(f"invalid image config: {error}") from error


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest blob; raises InvalidParameterError when it is not one."""
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidParameterError(f"invalid image manifest: {error}") from error


def decode_index(data: bytes) -> Index:
    """Read an index blob; raises InvalidParameterError when it is not one."""
    try:
        return msgspec.json.decode(data, type=Index)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidParameterError(f"invalid image index: {error}") from error
