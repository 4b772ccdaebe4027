"""What a snapshotter is.

A snapshot is a directory of its container's own and the layers it stands on; where the two are
is the caller's. An implementation has no state besides what is in that directory, so that
several can be in use side by side, each container remembering its own's name.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from aiod.images.tarwriter import TarWriter

Write = Callable[[TarWriter, threading.Event], None]


@dataclass(frozen=True, slots=True)
class Stack:
    """The container's own directory, and its layers' directories, the topmost first."""

    own: Path
    layers: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system to mount, in the words of mount(8)."""

    kind: str
    source: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container has written itself: bytes and number of files."""

    size: int
    files: int


class Kind(IntEnum):
    """What became of a path, in the numbers of the Engine API (`ChangeType`)."""

    CHANGED = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Difference:
    """One path, relative to the root, that is not as in the layers."""

    path: bytes
    kind: Kind


class Snapshotter(Protocol):
    """How snapshots are made. Every method blocks and raises OSError for the machine's faults.

    `prepare` may return before all layers are there, if what `mounts` then names waits for
    them: nothing else reads the layers.
    """

    @property
    def name(self) -> str:
        """What containers remember it by."""
        ...

    def prepare(self, stack: Stack) -> None:
        """Make it ready to be mounted; idempotent, and whole or not there at every instant."""
        ...

    def mounts(self, stack: Stack) -> tuple[Mount, ...]:
        """What to mount on one another to have the root."""
        ...

    def views(self, stack: Stack) -> tuple[Path, ...]:
        """Directories that, stacked as overlayfs stacks them, show the root without a mount."""
        ...

    def commit(self, stack: Stack) -> Write | None:
        """What writes the layer of all that was changed; None if nothing was."""
        ...

    def differences(self, stack: Stack) -> Iterable[Difference]:
        """What is not as in the layers; of a tree that is gone only its top."""
        ...

    def usage(self, stack: Stack) -> Usage:
        """What was written in it so far."""
        ...

    def remove(self, stack: Stack) -> None:
        """Delete all that `prepare` made and the container wrote; no error if there is nothing."""
        ...
