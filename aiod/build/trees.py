"""File systems being changed by WORKDIR, COPY and ADD: an image's, with what is written apart.

Must not know how sources are found or what an image is.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from aiod.build import beneath, overlay
from aiod.build.copying import Copier, Manner, destination
from aiod.build.owners import owner_of
from aiod.build.taking import Taken
from aiod.errors import InvalidParameterError
from aiod.images.compression import Limits
from aiod.images.deriving import Write
from aiod.images.diff import write_upper
from aiod.images.dockerfile.instructions import Instruction
from aiod.images.threads import run_to_end


class Tree:
    """`layers`, the topmost first, seen through a writable one in the empty `directory`."""

    def __init__(self, layers: Sequence[Path], directory: Path, limits: Limits) -> None:
        self._layers = layers
        self._directory = directory
        self._limits = limits

    @contextlib.contextmanager
    def _root(self) -> Iterator[int]:
        with overlay.mounted(self._layers, self._directory, self._directory / "mount") as root:
            yield root

    async def make_directory(self, path: str) -> None:
        """Make a directory and those above it, if they are not there."""

        def work(stop: threading.Event) -> None:
            with self._root() as root:
                resolved = beneath.resolve(root, os.fsencode(path))
                beneath.make_directories(root, resolved, beneath.Owner())

        await run_to_end(work)

    async def copy(self, taken: Taken, instruction: Instruction, workdir: str) -> None:
        """Do a COPY or an ADD. Raises AiodError."""
        target = destination(workdir, instruction.arguments[-1])

        def work(stop: threading.Event) -> None:
            with self._root() as root:
                manner = _manner(taken, instruction, root)
                Copier(root, self._limits, stop).copy(taken.found, target, manner)

        await run_to_end(work)

    async def written(self) -> Write | None:
        """What writes the layer; None if nothing was changed."""
        return await asyncio.to_thread(write_of, self._directory / "upper")


def write_of(upper: Path) -> Write | None:
    """What writes an upper directory as a layer; None if it holds nothing."""
    with os.scandir(upper) as entries:
        if next(entries, None) is None:
            return None
    return lambda tar, stop: write_upper(upper, tar, stop)


def _manner(taken: Taken, instruction: Instruction, root: int) -> Manner:
    flags = instruction.flags
    owner = None if taken.preserve_owners else beneath.Owner()
    if chown := flags.get("chown"):
        owner = owner_of(chown, root)
    return Manner(owner, _mode(flags.get("chmod", "")), unpack=instruction.keyword == "add")


def _mode(text: str) -> int | None:
    if not text:
        return None
    if len(text) > 4 or not set(text) <= set("01234567"):
        raise InvalidParameterError(
            f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        )
    return int(text, 8)
