"""Writing tars: the other half of `layertar`.

ustar headers with PAX records (POSIX.1-2001) for what those cannot say, xattrs in
`SCHILY.xattr.` as everybody reads them. The same entries give the same bytes. Must not know
where entries come from.
"""

from collections.abc import Callable

from aiod.errors import InvalidParameterError
from aiod.images.content import CHUNK
from aiod.images.layertar import BLOCK, DIRECTORY, TarEntry

_FIELDS_MAX = {"mode": 0o7777777, "owner": 0o7777777, "size": 0o77777777777}
_EXTENDED = b"x"


class TarWriter:
    """Entries to `write`, which takes all it is given, in big pieces."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._out = write
        self._waiting = bytearray()
        self._padding = 0

    def add(self, entry: TarEntry) -> None:
        """The header; exactly `entry.size` bytes by `data` must follow before the next."""
        records = _records(entry)
        if records:
            extended = TarEntry(b"PaxHeaders/x", _EXTENDED, b"", 0o644, 0, 0, len(records),
                                len(records), 0, 0, 0)  # fmt: skip
            self._write(_header(extended))
            self._write(records + bytes(-len(records) % BLOCK))
        self._write(_header(entry))
        self._padding = -entry.size % BLOCK

    def data(self, data: bytes) -> None:
        """The next bytes of the entry added last."""
        self._write(data)

    def end_entry(self) -> None:
        """After the last byte of an entry with data."""
        self._write(bytes(self._padding))
        self._padding = 0

    def close(self) -> None:
        """Two zero blocks: the end of the archive."""
        self._write(bytes(2 * BLOCK))
        self._flush()

    def _write(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        self._out(bytes(self._waiting))
        self._waiting.clear()


def _records(entry: TarEntry) -> bytes:
    records: dict[bytes, bytes] = {}
    name = _name(entry)
    if len(name) > 100 or not name.isascii():
        records[b"path"] = name
    if len(entry.link) > 100 or not entry.link.isascii():
        records[b"linkpath"] = entry.link
    if entry.size > _FIELDS_MAX["size"]:
        records[b"size"] = b"%d" % entry.size
    for key, number in ((b"uid", entry.uid), (b"gid", entry.gid)):
        if number > _FIELDS_MAX["owner"]:
            records[key] = b"%d" % number
    if not 0 <= entry.mtime_ns // 10**9 <= _FIELDS_MAX["size"]:
        records[b"mtime"] = b"%d" % (entry.mtime_ns // 10**9)
    for xattr, value in sorted(entry.xattrs.items()):
        if "=" in xattr:
            raise InvalidParameterError(f"xattr {xattr!r}: a tar cannot hold such a name")
        records[b"SCHILY.xattr." + xattr.encode("utf-8", "surrogateescape")] = value
    return b"".join(_record(key, value) for key, value in records.items())


def _record(key: bytes, value: bytes) -> bytes:
    """`length key=value newline`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _name(entry: TarEntry) -> bytes:
    return entry.name + b"/" if entry.kind == DIRECTORY else entry.name


def _octal(value: int, width: int, most: int) -> bytes:
    return b"%0*o\0" % (width - 1, value if 0 <= value <= most else 0)


def _header(entry: TarEntry) -> bytes:
    fields = (
        _name(entry)[:100].ljust(100, b"\0"),
        _octal(entry.mode, 8, _FIELDS_MAX["mode"]),
        _octal(entry.uid, 8, _FIELDS_MAX["owner"]),
        _octal(entry.gid, 8, _FIELDS_MAX["owner"]),
        _octal(entry.size, 12, _FIELDS_MAX["size"]),
        _octal(entry.mtime_ns // 10**9, 12, _FIELDS_MAX["size"]),
        b" " * 8,
        entry.kind,
        entry.link[:100].ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(64),
        _octal(entry.major, 8, _FIELDS_MAX["mode"]),
        _octal(entry.minor, 8, _FIELDS_MAX["mode"]),
    )
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
