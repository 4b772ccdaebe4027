"""The port through which images are recorded; the store implements it."""

from typing import Protocol

from aiod.images.model import ImageRecord


class ImageRecords(Protocol):
    """Durable image records. Every method is one transaction, on disk when it returns."""

    async def all(self) -> list[ImageRecord]:
        """Every image."""
        ...

    async def put(self, image: ImageRecord) -> None:
        """Insert or replace an image together with its references."""
        ...

    async def delete(self, image_id: str) -> None:
        """Forget an image and its references; unknown ids are no error."""
        ...
