"""RUN and the image's volumes: what is written into one belongs to no layer.

As with Docker's anonymous volumes, a copy of what the image has there is mounted over each
for the time of the step. Must not know how containers are run.
"""

import contextlib
import os
import stat
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from aiod.build import beneath
from aiod.build.workspace import Workspace
from aiod.errors import InvalidParameterError, UnsupportedError
from aiod.images.model import ImageRecord
from aiod.images.snapshots.native import copy_tree
from aiod.images.threads import run_to_end


@contextlib.asynccontextmanager
async def prepared(
    workspace: Workspace, image: ImageRecord | None, volumes: Iterable[str]
) -> AsyncIterator[list[str]]:
    """The binds for an image's `volumes`. Raises InvalidParameterError and UnsupportedError."""
    wanted = sorted(volumes)
    if not wanted:
        yield []
        return
    async with workspace.opened(image) as root, workspace.scratch() as scratch:
        yield await run_to_end(
            lambda stop: [
                f"{_copy(root, volume, scratch / str(number))}:{volume}"
                for number, volume in enumerate(wanted)
            ]
        )


def _copy(root: int, volume: str, target: Path) -> Path:
    if ":" in volume:
        raise UnsupportedError(f"VOLUME {volume}: a colon in its path is not supported by aiod yet")
    place = beneath.resolve(root, os.fsencode(volume))
    found = beneath.status(root, place)
    if found is None:
        target.mkdir()
        target.chmod(0o755)
    elif stat.S_ISDIR(found.st_mode):
        copy_tree(Path(f"/proc/self/fd/{root}") / os.fsdecode(place), target)
    else:
        raise InvalidParameterError(f"cannot mount volume over existing file, file exists {volume}")
    return target
