"""Where a build tells how it goes. Must not know HTTP."""

from typing import Protocol

from aiod.images.model import ProgressMessage


class Output(Protocol):
    """The client's side; awaiting it is backpressure. It raises when the client is gone."""

    async def tell(self, text: str) -> None:
        """Text as it is to be shown, newlines included."""

    async def complain(self, text: str) -> None:
        """The same of what went to standard error."""

    async def progress(self, message: ProgressMessage) -> None:
        """How the pull of an image goes."""

    async def image(self, image_id: str) -> None:
        """The id of an image that a stage has ended with."""
