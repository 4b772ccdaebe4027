"""Image records in SQLite: implements `aiod.images.records.ImageRecords`.

Must not know where blobs and layers are.
"""

from collections.abc import Iterable

import aiosqlite
import msgspec

from aiod.images.model import ImageRecord
from aiod.store import eventrows
from aiod.store.database import Database
from aiod.store.records import EventRecord


class ImageRepository:
    """Every change and its events are one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[ImageRecord]:
        """Every image that can be understood; a broken row hides no other."""
        found = []
        async with self._database.reader.execute("SELECT document FROM images") as cursor:
            async for (document,) in cursor:
                try:
                    found.append(msgspec.json.decode(document, type=ImageRecord))
                except msgspec.MsgspecError:
                    continue
        return found

    async def put(self, image: ImageRecord, events: Iterable[EventRecord] = ()) -> None:
        """Insert or replace an image together with its references."""
        recorded = list(events)
        document = msgspec.json.encode(image).decode()

        async def work(connection: aiosqlite.Connection) -> None:
            await connection.execute(
                "INSERT INTO images (id, document) VALUES (?, ?) "
                "ON CONFLICT (id) DO UPDATE SET document = excluded.document",
                (image.id, document),
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
