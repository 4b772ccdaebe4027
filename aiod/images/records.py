"""The port through which images are recorded; the store implements it."""

from collections.abc import Iterable
from typing import Protocol

from aiod.images.model import ImageRecord
from aiod.store.records import EventRecord


class ImageRecords(Protocol):
    """Durable image records. Every method is one transaction, on disk when it returns."""

    async def all(self) -> list[ImageRecord]:
        """Every image."""
        ...

    async def put(self, image: ImageRecord, events: Iterable[EventRecord] = ()) -> None:
        """Insert or replace an image together with its references."""
        ...

    async def delete(self, image_id: str, events: Iterable[EventRecord] = ()) -> None:
        """Forget an image and its references; unknown ids are no error."""
        ...
