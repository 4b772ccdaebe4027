"""Questions to registries that bring nothing here: logins, and what a name stands for there.

Must not know HTTP, nor which images are here.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from aiod.errors import InvalidParameterError, UnauthorizedError
from aiod.images import config as formats
from aiod.images import searching
from aiod.images.archive import LARGEST_DOCUMENT
from aiod.images.config import Descriptor, Platform
from aiod.images.reference import DEFAULT_DOMAIN, Reference, parse
from aiod.images.registry import client, errors
from aiod.images.registry.client import Fetched, Repository
from aiod.images.registry.credentials import Credentials
from aiod.images.registry.errors import RegistryError
from aiod.images.registry.transport import Transport

_HUB = frozenset(("", "index.docker.io", "registry-1.docker.io"))


class Distribution(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer of `GET /distribution/{name}/json`."""

    descriptor: Descriptor
    platforms: list[Platform]


class Lookups:
    """Asks over one transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def login(self, credentials: Credentials) -> str:
        """Check credentials at the registry they are for; an identity token, if it gives one.

        Raises UnauthorizedError with the registry's words, and UnreachableError.
        """
        registry = client.origin(self._transport, _domain(credentials.server), credentials)
        try:
            return await registry.login()
        except RegistryError as error:
            if error.answered not in (401, 403):
                raise
            base = await registry.base()
            raise UnauthorizedError(f'Get "{base}/v2/": {error.message}') from error

    async def search(
        self, term: str, limit: int, filters: Mapping[str, list[str]]
    ) -> list[searching.Hit]:
        """The repositories that the configured index finds. See `searching.search`."""
        return await searching.search(self._transport, term, limit, filters)

    async def inspect(self, name: str, credentials: Credentials) -> Distribution:
        """What a name stands for at its registry, and for which platforms it is there.

        Raises InvalidParameterError, RegistryError and UnreachableError.
        """
        reference = parse(name).with_default_tag()
        registry = client.origin(self._transport, reference.domain, credentials)
        repository = await registry.repository(reference.path)
        try:
            fetched = await repository.manifest(reference.digest or reference.tag or "")
        except RegistryError as error:
            raise _explained(error, reference) from error
        descriptor = Descriptor(fetched.media_type, fetched.digest, len(fetched.data))
        return Distribution(descriptor, await _platforms(repository, fetched))


def _explained(error: RegistryError, reference: Reference) -> RegistryError:
    """Registries say that a stranger may not know by a 401; so does this."""
    if error.code == errors.MANIFEST_UNKNOWN:
        error.message += f": {reference.familiar}"
    return error


async def _platforms(repository: Repository, fetched: Fetched) -> list[Platform]:
    if fetched.media_type in formats.INDEX_TYPES:
        index = formats.decode_index(fetched.data)
        return [one.platform for one in index.manifests if one.platform is not None]
    if fetched.media_type not in (formats.OCI_MANIFEST, formats.DOCKER_MANIFEST):
        return []
    blob = formats.decode_manifest(fetched.data).config
    if blob.size > LARGEST_DOCUMENT:
        raise InvalidParameterError(f"image config is larger than {LARGEST_DOCUMENT} bytes")
    config = formats.decode_config(await repository.small_blob(blob.digest, blob.size))
    return [Platform(config.architecture, config.os, config.variant)]


def _domain(server: str) -> str:
    """The registry that clients mean: some give a URL. Raises InvalidParameterError."""
    host = (urlsplit(server).netloc if "://" in server else server.partition("/")[0]).lower()
    if host in _HUB:
        return DEFAULT_DOMAIN
    domain = parse(f"{host}/x").domain
    if domain != host:
        raise InvalidParameterError(f"invalid registry host {host!r}")
    return host
