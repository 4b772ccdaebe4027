"""Image records in SQLite: implements `aiod.images.records.ImageRecords`.

Must not know where blobs and layers are.
"""

from collections.abc import Iterable

import aiosqlite
import msgspec

from aiod.images.model import ImageRecord
from aiod.images.records import LoadedImages
from aiod.store import eventrows
from aiod.store.database import Database
from aiod.store.records import EventRecord


class ImageRepository:
    """Every change and its events are one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load_all(self) -> LoadedImages:
        """Every image; a record that cannot be read hides no other."""
        images: list[ImageRecord] = []
        unreadable: list[str] = []
        for image_id, document in await self._database.rows("SELECT id, document FROM images"):
            try:
                images.append(msgspec.json.decode(document, type=ImageRecord))
            except (msgspec.MsgspecError, UnicodeError):
                unreadable.append(image_id)
        return LoadedImages(tuple(images), tuple(unreadable))

    async def put_all(
        self, images: Iterable[ImageRecord], events: Iterable[EventRecord] = ()
    ) -> None:
        """Insert or replace images together with their references."""
        recorded = list(events)
        rows = [(image.id, msgspec.json.encode(image).decode()) for image in images]

        async def work(connection: aiosqlite.Connection) -> None:
            await connection.executemany(
                "INSERT INTO images (id, document) VALUES (?, ?) "
                "ON CONFLICT (id) DO UPDATE SET document = excluded.document",
                rows,
            )
            await eventrows.insert(connection, recorded)

        await self._database.transact(work)

    async def delete(self, image_id: str, events: Iterable[EventRecord] = ()) -> None:
        """Forget an image and its references; unknown ids are no error."""
        recorded = list(events)

        async def work(connection: aiosqlite.Connection) -> None:
            await connection.execute("DELETE FROM images WHERE id = ?", (image_id,))
            await eventrows.insert(connection, recorded)

        await self._database.transact(work)
