"""The images that builds begin with or copy from: those that are here, or a registry's.

Owns when one is pulled. Must not know what it is for.
"""

import contextlib
from collections.abc import Mapping

from aiod.build.output import Output
from aiod.errors import NotFoundError
from aiod.images import base
from aiod.images.model import ImageRecord
from aiod.images.pulling import pull_reference
from aiod.images.reference import is_hex64, parse
from aiod.images.registry.credentials import ANONYMOUS, Credentials
from aiod.images.service import ImageService

_HUB = "docker.io"
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")


class Bases:
    """Finds images for one build; with `pull` they are asked for anew."""

    def __init__(
        self, images: ImageService, credentials: Mapping[str, Credentials], *, pull: bool
    ) -> None:
        self._images = images
        self._credentials = credentials
        self._pull = pull

    async def find(self, name: str, output: Output) -> ImageRecord:
        """The image called `name`, pulled if it is not here. Raises AiodError."""
        local = is_hex64(name.removeprefix("sha256:"))
        if local or not self._pull or str(parse(name).with_default_tag()) == base.NAME:
            try:
                return await self._images.resolve(name)
            except NotFoundError:
                if local:
                    raise
        reference = pull_reference(name).with_default_tag()
        messages = self._images.pull(reference, None, self._who(reference.domain))
        async with contextlib.aclosing(messages):
            async for message in messages:
                await output.progress(message)
        return self._images.find(str(reference))

    def _who(self, domain: str) -> Credentials:
        keys = _HUB_KEYS if domain == _HUB else (domain, f"https://{domain}", f"http://{domain}")
        return next((self._credentials[k] for k in keys if k in self._credentials), ANONYMOUS)
