"""The database's schema, as numbered steps that are never changed once released.

Owns the tables; must not know what is in their documents. A database's `user_version` is the
number of steps it has had.
"""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE containers (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            image_id TEXT NOT NULL,
            status TEXT NOT NULL,
            created_ns INTEGER NOT NULL,
            document TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE execs (
            id TEXT PRIMARY KEY,
            container_id TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
            document TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX execs_by_container ON execs (container_id)",
        """CREATE TABLE images (
            id TEXT PRIMARY KEY,
            document TEXT NOT NULL
        ) STRICT""",
        # AUTOINCREMENT: the number of a trimmed event is never given to another.
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            time_ns INTEGER NOT NULL,
            type TEXT NOT NULL,
            action TEXT NOT NULL,
            actor_id TEXT NOT NULL,
            attributes TEXT NOT NULL,
            scope TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX events_by_time ON events (time_ns)",
    ),
    (
        """CREATE TABLE volumes (
            name TEXT PRIMARY KEY,
            removing INTEGER NOT NULL,
            document TEXT NOT NULL
        ) STRICT""",
    ),
    (
        """CREATE TABLE networks (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            document TEXT NOT NULL
        ) STRICT""",
        # A network may go while containers that do not run are to join it: no reference.
        """CREATE TABLE endpoints (
            container_id TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
            network_id TEXT NOT NULL,
            ipv4 TEXT,
            ipv6 TEXT,
            document TEXT NOT NULL,
            PRIMARY KEY (container_id, network_id),
            UNIQUE (network_id, ipv4),
            UNIQUE (network_id, ipv6)
        ) STRICT""",
    ),
)
