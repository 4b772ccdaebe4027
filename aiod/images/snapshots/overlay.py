"""Snapshots by overlayfs: layers shared, what a container writes in an upper directory."""

import os
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from aiod.images.diff import write_upper
from aiod.images.snapshots import differences
from aiod.images.snapshots.model import Difference, Mount, Stack, Usage, Write
from aiod.images.snapshots.usage import measure


class OverlaySnapshotter:
    """`own/upper` and `own/work`."""

    name = "overlay"

    def prepare(self, stack: Stack) -> None:
        """Make the two directories."""
        for name in ("upper", "work"):
            (stack.own / name).mkdir(parents=True, exist_ok=True)

    def mounts(self, stack: Stack) -> tuple[Mount, ...]:
        """One overlay. Without redirects, so that the upper directory alone says what changed."""
        lower = (f"lowerdir={directory}" for directory in stack.layers)
        own = (f"upperdir={_upper(stack)}", f"workdir={stack.own / 'work'}")
        return (Mount("overlay", "overlay", (*lower, *own, "redirect_dir=off", "metacopy=off")),)

    def views(self, stack: Stack) -> tuple[Path, ...]:
        """The upper directory over the layers."""
        return (_upper(stack), *stack.layers)

    def commit(self, stack: Stack) -> Write | None:
        """The upper directory."""
        with os.scandir(_upper(stack)) as entries:
            if next(entries, None) is None:
                return None
        return partial(write_upper, _upper(stack))

    def differences(self, stack: Stack) -> Iterable[Difference]:
        """The upper directory against the layers."""
        return differences.of_upper(_upper(stack), stack.layers) if _upper(stack).is_dir() else ()

    def usage(self, stack: Stack) -> Usage:
        """All that is in the upper directory."""
        return measure(_upper(stack))

    def remove(self, stack: Stack) -> None:
        """Delete the two directories."""
        for name in ("upper", "work"):
            shutil.rmtree(stack.own / name, ignore_errors=True)


def _upper(stack: Stack) -> Path:
    return stack.own / "upper"
