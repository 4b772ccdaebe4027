"""Unpacks tars, plain or compressed, into trees: build contexts, and what ADD is given.

Blocking; must not know who wants it.
"""

import os
import threading

from aiod.build.beneath import open_directory, parts
from aiod.build.placing import Placer, Read
from aiod.build.sources import begun_digest
from aiod.errors import InternalError, InvalidParameterError
from aiod.images.compression import Limits, PlainReader
from aiod.images.content import Reader
from aiod.images.layertar import TarEntry, TarError, TarReader


def unpack_below(
    source: Reader,
    root: int,
    path: bytes,
    limits: Limits,
    cancelled: threading.Event,
    what: str,
    sums: dict[bytes, str] | None = None,
) -> None:
    """Put a tar's members below the directory `path` of `root`; their digests into `sums`.

    Raises InvalidParameterError, with `what` in it, for a tar that is damaged or beyond the
    limits, and Cancelled.
    """
    plain = PlainReader(source, limits, what=what, digest=False)
    directory = open_directory(root, path)
    placer = Placer(directory, cancelled)
    try:
        tar = TarReader(plain)
        for count, entry in enumerate(tar, 1):
            if count > limits.entries:
                raise InvalidParameterError(f"{what}: more than {limits.entries} entries")
            if sums is None:
                placer.place(entry, tar.read)
            else:
                sums[b"/".join(parts(entry.name))] = _placed(placer, entry, tar.read)
        placer.finish()
    except TarError as error:
        raise InvalidParameterError(f"{what}: {error.message}") from error
    except OSError as error:
        raise InternalError(f"{what}: {error.strerror}: {os.fsdecode(path)}") from error
    finally:
        os.close(directory)


def is_tar(source: Reader, limits: Limits) -> bool:
    """Whether the bytes begin a tar, in any compression that can be unpacked."""
    try:
        first = next(iter(TarReader(PlainReader(source, limits, what="", digest=False))), None)
    except InvalidParameterError:
        return False
    return first is not None


def _placed(placer: Placer, entry: TarEntry, read: Read) -> str:
    """Place an entry; returns its digest."""
    hashed = begun_digest(entry)

    def reading(size: int) -> bytes:
        data = read(size)
        hashed.update(data)
        return data

    placer.place(entry, reading)
    return hashed.hexdigest()
