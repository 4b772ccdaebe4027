"""How an event becomes a row and a row an event; shared by all who record one.

Owns the bound on how much is kept; must not know who follows the log.
"""

from collections.abc import Iterable

import aiosqlite
import msgspec

from aiod.store.records import EventRecord

KEPT = 100_000
TRIM_EVERY = 1_000

_INSERT = (
    "INSERT INTO events (time_ns, type, action, actor_id, attributes, scope) "
    "VALUES (?, ?, ?, ?, ?, ?)"
)
# Numbers and times are in the same order but where a clock was set back: the index of times
# finds where to begin.
SELECT = (
    "SELECT seq, time_ns, type, action, actor_id, attributes, scope FROM events WHERE seq > ?1 "
    "AND seq >= (SELECT coalesce(min(seq), 0) FROM events INDEXED BY events_by_time "
    "WHERE ?2 > 0 AND time_ns >= ?2) AND time_ns >= ?2 AND time_ns <= ?3 ORDER BY seq LIMIT ?4"
)


async def insert(connection: aiosqlite.Connection, events: Iterable[EventRecord]) -> None:
    """Append `events`, which get their numbers; part of the caller's transaction.

    The oldest beyond KEPT are forgotten, once in TRIM_EVERY events.
    """
    for event in events:
        attributes = msgspec.json.encode(event.attributes).decode()
        cursor = await connection.execute(
            _INSERT,
            (event.time_ns, event.type, event.action, event.actor_id, attributes, event.scope),
        )
        newest = cursor.lastrowid or 0
        if newest % TRIM_EVERY == 0:
            await connection.execute("DELETE FROM events WHERE seq <= ?", (newest - KEPT,))


def parse(row: aiosqlite.Row | tuple[object, ...]) -> EventRecord:
    """The event in a row of `SELECT`; raises msgspec.DecodeError or ValidationError."""
    seq, time_ns, kind, action, actor, attributes, scope = row
    document = {
        "seq": seq,
        "time_ns": time_ns,
        "type": kind,
        "action": action,
        "actor_id": actor,
        "attributes": msgspec.json.decode(str(attributes)),
        "scope": scope,
    }
    return msgspec.convert(document, EventRecord)
