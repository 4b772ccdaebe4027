"""The port through which images are recorded; the store implements it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from aiod.images.model import ImageRecord
from aiod.store.records import EventRecord


@dataclass(frozen=True, slots=True)
class LoadedImages:
    """What the store holds; `unreadable` are ids of records of another form."""

    images: tuple[ImageRecord, ...]
    unreadable: tuple[str, ...] = ()


class ImageRecords(Protocol):
    """Durable image records. Every method is one transaction, on disk when it returns."""

    async def load_all(self) -> LoadedImages:
        """Every image; a record that cannot be read hides no other."""
        ...

    async def put_all(
        self, images: Iterable[ImageRecord], events: Iterable[EventRecord] = ()
    ) -> None:
        """Insert or replace images together with their references."""
        ...

    async def delete(self, image_id: str, events: Iterable[EventRecord] = ()) -> None:
        """Forget an image and its references; unknown ids are no error."""
        ...
