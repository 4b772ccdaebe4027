"""What an overlay's upper directory changes of the layers below it, path by path. Blocks."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from aiod.images.snapshots import stacked
from aiod.images.snapshots.model import Difference, Kind
from aiod.images.unpack import is_whiteout

_Below = dict[bytes, list[stacked.Seen]]


def of_upper(upper: Path, layers: Sequence[Path]) -> Iterator[Difference]:
    """Differences, directories before what is in them; of what is gone only the top."""
    yield from _walk(os.fsencode(upper), tuple(map(os.fsencode, layers)), b"")


def _walk(place: bytes, lower: tuple[bytes, ...], above: bytes) -> Iterator[Difference]:
    below = stacked.merged(lower)
    names = sorted(map(os.fsencode, os.listdir(place)))
    if stacked.is_opaque(place):
        for name in sorted(below.keys() - set(names)):
            yield Difference(above + name, Kind.DELETED)
    for name in names:
        yield from _entry(place + b"/" + name, below.get(name, []), above + name)


def _entry(place: bytes, old: list[stacked.Seen], path: bytes) -> Iterator[Difference]:
    try:
        status = os.lstat(place)
    except FileNotFoundError:  # the container runs on
        return
    if is_whiteout(status):
        if old:
            yield Difference(path, Kind.DELETED)
        return
    merged = bool(old) and stat.S_ISDIR(status.st_mode) and stat.S_ISDIR(old[0].status.st_mode)
    if not old:
        yield Difference(path, Kind.ADDED)
    elif not merged or _facts(status) != _facts(old[0].status):
        yield Difference(path, Kind.CHANGED)
    if stat.S_ISDIR(status.st_mode):
        places = tuple(one.place for one in old) if merged else ()
        yield from _walk(place, places, path + b"/")


def _facts(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns
